"""`console factory`: the bootstrap certificates of a production run. Only `revoke` needs AWS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from console import bootstrap, factory_ca, fleet_folder, key_manifest, output
from console.bootstrap import Terms, Wanted
from console.cloud import Refused
from console.commands import bench, revoking, trying
from console.key_manifest import Run
from console.options import FleetFolder, Json, Options, command_group
from console.production import MANIFEST, Folder
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId, IdRule
from firstboot.pki import chain, profile
from firstboot.pki.profile import Issuer

app = command_group("Make or revoke the bootstrap certificates of a factory.")

CERTIFICATE = typer.Option(
    metavar="FILE", exists=True, dir_okay=False, help="The factory CA's certificate, PEM."
)
KEY = typer.Option(
    metavar="FILE",
    exists=True,
    dir_okay=False,
    help="The factory CA's private key, PEM. A reader of this file can make devices: encrypt it and keep it "
    "off networks. In volume production, keep the key in an HSM instead (docs/operations.md).",
)
PASSWORD = typer.Option(
    metavar="FILE", exists=True, dir_okay=False, help="The encrypted key's password (default: ask)."
)
KEYS = typer.Option(
    metavar="FILE",
    exists=True,
    dir_okay=False,
    help="Public keys that secure elements have: CSV with deviceId and publicKey (base64 of DER, or PEM).",
)
OUT = typer.Option(
    metavar="FOLDER", file_okay=False, help="The folder of the run: new, empty, or begun by the same run."
)

_ADVICE = (
    "An attacker can use a key in a secure element and sign proofs ahead, but can't take the key along: "
    'set proof = "nonce" in group {}.'
)


@app.command()
def issue(  # noqa: PLR0913 - each is a setting of the run
    ctx: typer.Context,
    *,
    name: Annotated[
        str, typer.Option("--group", metavar="GROUP", help="The group that the devices will enroll in.")
    ],
    out: Annotated[Path, OUT],
    ca_cert: Annotated[Path, CERTIFICATE],
    ca_key: Annotated[Path, KEY],
    ca_key_password_file: Annotated[Path | None, PASSWORD] = None,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="How many devices.")] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The first part of each id (default: GROUP-).")
    ] = None,
    start: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="The number in the first id (default: 1).")
    ] = None,
    manifest: Annotated[Path | None, KEYS] = None,
    days: Annotated[
        int, typer.Option(metavar="N", min=1, max=36_500, help="The certificates' lifetime.")
    ] = 7_300,
    folder: FleetFolder = Path("fleet"),
    as_json: Json = False,
) -> None:
    """Make the bootstrap certificates of a production run.

    The factory's CA signs them. With --count, the command makes the keys too. With --manifest, the keys are
    in secure elements already. A group whose devices share a claim certificate gets one claim certificate
    and a list of device ids. After an interruption, run the same command again: it continues where it
    stopped.
    """
    options = Options.of(ctx, None, as_json=as_json)
    if (count is None) == (manifest is None):
        raise typer.BadParameter("give one of --count and --manifest")
    if manifest and (prefix is not None or start is not None):
        raise typer.BadParameter("--prefix and --start go with --count: a manifest names its devices")
    with output.failures(as_json=options.as_json):
        fleet, group = _group(folder, name)
        issuer = factory_ca.load(ca_cert, ca_key, lambda: _password(ca_key_password_file))
        terms = _terms(issuer, group, days)
        run = Folder(out, _description(issuer, group, manifest))
        if manifest:
            total, steps = _listed(run, terms, group, fleet.ids, manifest)
        else:
            total, first = count or 0, 1 if start is None else start
            steps = _numbered(run, terms, group, _ids(group, fleet.ids, prefix, first, total))
        before = Counter(output.bar("devices", steps, total))
        output.result(_summary(run, group, before), _describe, as_json=options.as_json)
        if manifest and group.proof == "time":
            output.note(_ADVICE.format(group.name))


app.command("ca")(bench.ca)
app.command("check")(trying.check)
app.command()(revoking.revoke)


def _group(folder: Path, name: str) -> tuple[Fleet, Group]:
    """Return the fleet and the group.

    Raises Refused if no certificate can be made for the name of one of the group's devices.
    """
    fleet = fleet_folder.load(folder)
    group = fleet_folder.group(fleet, folder, name)
    if profile.placed(group, "") is None:
        detail = (
            f"group {group.name} takes its ids out of {group.device_id}, so a name does not tell what a "
            "certificate must have there: issue its certificates where the device's values are known"
        )
        raise Refused({"code": "group-source", "detail": detail})
    return fleet, group


def _password(file: Path | None) -> bytes:
    if file:
        return file.read_bytes().rstrip(b"\r\n")
    if not output.can_ask():
        raise factory_ca.unfit("the key is encrypted: give --ca-key-password-file")
    return str(typer.prompt("The CA key's password", hide_input=True, err=True)).encode()


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _terms(issuer: Issuer, group: Group, days: int) -> Terms:
    now = _now()
    not_after = now + timedelta(days=days)
    return Terms(issuer, factory_ca.check(issuer, group, now, not_after), now, not_after)


def _description(issuer: Issuer, group: Group, manifest: Path | None) -> dict[str, str]:
    """Return what two attempts at the same run have in common.

    The number of devices is not part of it, because a run can be continued with a larger one.
    """
    return {
        "group": group.name,
        "ca": chain.fingerprint(issuer.certificate),
        "keys": "secure-element" if manifest else "made-here",
    }


def _ids(group: Group, rule: IdRule, prefix: str | None, start: int, count: int) -> Iterator[DeviceId]:
    try:
        return bootstrap.device_ids(group, f"{group.name}-" if prefix is None else prefix, start, count, rule)
    except DeviceIdInvalid as error:
        detail = f"the prefix does not make valid device ids: {error}"
        raise Refused({"code": error.code, "detail": detail}) from error


def _numbered(run: Folder, terms: Terms, group: Group, ids: Iterator[DeviceId]) -> Iterator[bool]:
    if group.is_shared:
        return bootstrap.issue_claim(run, terms, group, ids)
    return bootstrap.issue(run, terms, (Wanted(each, placed=_placed(group, each)) for each in ids))


def _placed(group: Group, name: str) -> dict[str, str]:
    return profile.placed(group, name) or {}


def _listed(
    run: Folder, terms: Terms, group: Group, rule: IdRule, manifest: Path
) -> tuple[int, Iterator[bool]]:
    if group.is_shared:
        detail = f"devices of group {group.name} share a claim certificate: they have no keys of their own"
        raise Refused({"code": "group-shared", "detail": detail})
    total = key_manifest.checked(manifest, Run(run.certificate, group, rule, run.ignores_case))
    named = key_manifest.wanted(manifest, rule)
    return total, bootstrap.issue(
        run, terms, (replace(each, placed=_placed(group, each.name)) for each in named)
    )


def _summary(run: Folder, group: Group, before: Counter[bool]) -> output.Record:
    return {
        "group": group.name,
        "shared": group.is_shared,
        "devices": before.total(),
        "doneBefore": before[True],
        "manifest": str(run.path / MANIFEST),
    }


def _describe(summary: output.Record) -> list[str]:
    what = "devices share a claim certificate" if summary["shared"] else "devices have their certificates"
    earlier = f" ({summary['doneBefore']:,} since an earlier attempt)" if summary["doneBefore"] else ""
    return [f"{summary['devices']:,} {what}{earlier}: {summary['manifest']}"]
