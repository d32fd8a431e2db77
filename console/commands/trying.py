"""`console factory check`: whether a certificate would be admitted. It needs no AWS."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from console import fleet_folder, output, trial
from console.cloud import Refused
from console.options import FleetFolder, Json, Options
from console.trial import Trial
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import CertificateMalformed

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]

Name = Annotated[
    str, typer.Option("--group", metavar="GROUP", help="The group that the device is to enroll in.")
]
File = Annotated[
    Path,
    typer.Argument(metavar="CERT", exists=True, dir_okay=False, help="The certificate to try, PEM or DER."),
]
Chain = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", exists=True, dir_okay=False, help="CA certificates that the device sends with it."
    ),
]
At = Annotated[
    datetime | None,
    typer.Option(metavar="TIME", formats=_TIMES, help="Try it at this time, in UTC (default: now)."),
]


def check(
    ctx: typer.Context,
    file: File,
    *,
    name: Name,
    chain: Chain = None,
    at: At = None,
    folder: FleetFolder = Path("fleet"),
    as_json: Json = False,
) -> None:
    """Say whether a bootstrap certificate would be admitted.

    The command says as which device and by which rules, or why not. The exit code is 1 if not. It cannot know
    what only a stack knows: the devices, the counters of budgets, and revoked certificates.
    """
    options = Options.of(ctx, None, as_json=as_json)
    with output.failures(as_json=options.as_json):
        fleet = fleet_folder.load(folder)
        group = fleet_folder.group(fleet, folder, name)
        leaf, *others = _read(file)
        intermediates = (*others, *(_read(chain) if chain else ()))
        when = at.replace(tzinfo=UTC) if at else datetime.now(UTC)
        result = Trial(leaf, intermediates, fleet, group, when).result()
        output.result(result, _describe, as_json=options.as_json)
        if not result["accepted"]:
            raise typer.Exit(output.REFUSED)


def _read(file: Path) -> list[Certificate]:
    try:
        found = trial.read(file.read_bytes())
    except CertificateMalformed as error:
        problem = {"code": error.code, "reason": error.reason, "detail": f"{file}: {error.detail}"}
        raise Refused(problem) from error
    if not found:
        raise Refused({"code": "certificate-malformed", "detail": f"{file} has no certificate"})
    return found


def _describe(result: output.Record) -> list[str | Text]:
    lines: list[str | Text] = [_verdict(result)]
    if "path" in result:
        lines.append("path: " + " <- ".join(result["path"]))
        anchor = result["anchor"]
        lines.append(f"trust anchor of group {anchor['group']}: key SHA-256 {anchor['key']}")
        lines.append(f"usage: {result['usage']}")
    if result.get("deviceId"):
        lines.append(f'device id: {result["deviceId"]} (device_id = "{result["deviceIdFrom"]}")')
    elif "deviceIdFrom" in result:
        lines.append(f'device id: the one in the request (device_id = "{result["deviceIdFrom"]}")')
    if "ways" in result:
        lines.append(f"ways in: {', '.join(result['ways'])}")
    lines.append(f"certificate SHA-256: {result['certificateId']} (AWS IoT's certificate id)")
    lines.append(f"signed part SHA-256: {result['identifier']} (Firstboot's identifier)")
    if result["key"]:
        lines.append(f"key SHA-256: {result['key']}")
    return lines


def _verdict(result: output.Record) -> Text:
    if result["accepted"]:
        return Text(f"accepted at {result['at']} in group {result['group']}", style="green")
    causes = " / ".join(result[name] for name in ("code", "reason") if name in result)
    return Text(f"refused at {result['at']}: {causes}: {result['detail']}", style="red")
