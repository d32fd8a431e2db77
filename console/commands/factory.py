"""`console factory`: what devices leave the factory with. Needs no AWS."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from console import bootstrap, factory_ca, fleet_folder, key_manifest, output
from console.bootstrap import Terms, Wanted
from console.cloud import Refused
from console.commands import bench
from console.options import Json, Options
from console.production import MANIFEST, Folder
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId
from firstboot.pki import chain
from firstboot.pki.profile import Issuer

app = typer.Typer(no_args_is_help=True, help="Make the bootstrap certificates of a production run.")

app.command("ca")(bench.ca)

CERTIFICATE = typer.Option(exists=True, dir_okay=False, help="The factory CA's certificate, PEM.")
KEY = typer.Option(
    exists=True,
    dir_okay=False,
    help="The factory CA's private key, PEM. Whoever reads it can make devices: encrypt the file and keep "
    "it off networks. In volume production, keep the key in an HSM instead (docs/operations.md).",
)
PASSWORD = typer.Option(exists=True, dir_okay=False, help="The encrypted key's password (default: ask).")
KEYS = typer.Option(
    exists=True,
    dir_okay=False,
    help="Public keys made in secure elements: CSV with deviceId and publicKey (base64 DER or PEM).",
)


@app.command()
def issue(  # noqa: PLR0913 - each is a setting of the run
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Option("--group", help="The group that the devices will enroll in.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="A folder: new, empty, or of this same run.")],
    ca_cert: Annotated[Path, CERTIFICATE],
    ca_key: Annotated[Path, KEY],
    ca_key_password_file: Annotated[Path | None, PASSWORD] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many devices.")] = None,
    prefix: Annotated[str | None, typer.Option(help="What ids begin with (default: GROUP-).")] = None,
    start: Annotated[int | None, typer.Option(min=0, help="The first id's number (default: 1).")] = None,
    manifest: Annotated[Path | None, KEYS] = None,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="The certificates' lifetime.")] = 7_300,
    folder: Annotated[
        Path, typer.Option("--fleet", exists=True, file_okay=False, help="The fleet folder.")
    ] = Path("fleet"),
    as_json: Json = False,
) -> None:
    """Make the bootstrap certificates of a production run, signed by the factory's CA.

    With --count keys are made too; with --manifest they are in secure elements already. A group whose
    devices share a claim certificate gets one, and a list of device ids. Interrupted and run again,
    it goes on where it was.
    """
    options = Options.of(ctx, None, as_json=as_json)
    if (count is None) == (manifest is None):
        raise typer.BadParameter("give one of --count and --manifest")
    if manifest and (prefix is not None or start is not None):
        raise typer.BadParameter("--prefix and --start go with --count: a manifest names its devices")
    with output.failures(as_json=options.as_json):
        group = _group(folder, name)
        issuer = factory_ca.load(ca_cert, ca_key, lambda: _password(ca_key_password_file))
        terms = _terms(issuer, group, days)
        run = Folder(out, _description(issuer, group, manifest))
        if manifest:
            total, steps = _listed(run, terms, group, manifest)
        else:
            total, first = count or 0, 1 if start is None else start
            steps = _numbered(run, terms, group, _ids(group, prefix, first, total))
        before = Counter(output.bar("devices", steps, total))
        output.result(_summary(run, group, before), _describe, as_json=options.as_json)


def _group(folder: Path, name: str) -> Group:
    groups = fleet_folder.load(folder).groups
    if name not in groups:
        raise Refused(
            {"code": "group-unknown", "detail": f"{folder} has no group {name}; it has {', '.join(groups)}"}
        )
    return groups[name]


def _password(file: Path | None) -> bytes:
    if file:
        return file.read_bytes().rstrip(b"\r\n")
    if not output.someone_can_answer():
        raise factory_ca.unfit("the key is encrypted: give --ca-key-password-file")
    return str(typer.prompt("The CA key's password", hide_input=True, err=True)).encode()


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _terms(issuer: Issuer, group: Group, days: int) -> Terms:
    now = _now()
    not_after = now + timedelta(days=days)
    return Terms(issuer, factory_ca.check(issuer, group, now, not_after), now, not_after)


def _description(issuer: Issuer, group: Group, manifest: Path | None) -> dict[str, str]:
    """What makes two attempts the same run. How many devices does not: a run may be made longer."""
    return {
        "group": group.name,
        "ca": chain.fingerprint(issuer.certificate),
        "keys": "secure-element" if manifest else "made-here",
    }


def _ids(group: Group, prefix: str | None, start: int, count: int) -> Iterator[DeviceId]:
    try:
        return bootstrap.device_ids(f"{group.name}-" if prefix is None else prefix, start, count)
    except DeviceIdInvalid as error:
        raise Refused({"code": error.code, "detail": f"the prefix makes no device ids: {error}"}) from error


def _numbered(run: Folder, terms: Terms, group: Group, ids: Iterator[DeviceId]) -> Iterator[bool]:
    if group.is_shared:
        return bootstrap.issue_claim(run, terms, group, ids)
    return bootstrap.issue(run, terms, (Wanted(each) for each in ids))


def _listed(run: Folder, terms: Terms, group: Group, manifest: Path) -> tuple[int, Iterator[bool]]:
    if group.is_shared:
        detail = f"devices of group {group.name} share a claim certificate: they have no keys of their own"
        raise Refused({"code": "group-shared", "detail": detail})
    total = key_manifest.checked(manifest, run.certificate)
    return total, bootstrap.issue(run, terms, key_manifest.wanted(manifest))


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
    earlier = f" ({summary['doneBefore']:,} from before)" if summary["doneBefore"] else ""
    return [f"{summary['devices']:,} {what}{earlier}: {summary['manifest']}"]
