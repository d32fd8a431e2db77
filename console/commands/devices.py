"""`console devices`: the devices' records, and what they hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from console import describe, output, values
from console.cloud import Operate
from console.commands import importing
from console.options import Json, Options, Stack, Yes
from firstboot.pki import chain
from firstboot.pki.errors import CertificateMalformed

app = typer.Typer(no_args_is_help=True, help="Look at devices, change, revoke and delete them.")

app.command("import")(importing.import_)

_SHA256 = re.compile("[0-9a-f]{64}")

DeviceId = Annotated[str, typer.Argument(metavar="ID", help="The device's id.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    enrolled_by: Annotated[
        str | None,
        typer.Option(
            metavar="CERT", help="Only what this bootstrap certificate enrolled: a PEM file, or its SHA-256."
        ),
    ] = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """List every device, in no particular order."""
    options = Options.of(ctx, stack, as_json=as_json)
    certificate = _fingerprint(enrolled_by) if enrolled_by else None
    with output.failures(as_json=options.as_json):
        devices = output.counted("devices", Operate(options.stack_name).devices(certificate))
        if options.as_json:
            output.array("devices", devices)
            return
        output.line(describe.HEADER)
        for device in devices:
            output.line(describe.row(device))


@app.command()
def show(ctx: typer.Context, device_id: DeviceId, *, stack: Stack = None, as_json: Json = False) -> None:
    """Show a device's record."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        device = Operate(options.stack_name).call("devices.show", deviceId=device_id)
        output.result(device, describe.device, as_json=options.as_json)


@app.command()
def revoke(
    ctx: typer.Context,
    device_id: DeviceId,
    *,
    yes: Yes = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Revoke a device, for good: every call it makes from now on is refused.

    Asks first when standard input is a terminal. Credentials it already has live until they expire.
    """
    _confirm(f"Revoke {device_id} for good?", yes=yes)
    _change(Options.of(ctx, stack, as_json=as_json), "devices.revoke", device_id)


@app.command()
def delete(
    ctx: typer.Context,
    device_id: DeviceId,
    *,
    yes: Yes = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Delete a device: it loses its rights at once, and whoever holds its bootstrap certificate can
    enroll it anew. Revoke what must not come back.

    Asks first when standard input is a terminal. The record goes when AWS IoT knows nothing of the
    device any more.
    """
    _confirm(f"Delete {device_id}? It may enroll again.", yes=yes)
    _change(Options.of(ctx, stack, as_json=as_json), "devices.delete", device_id)


@app.command("set")
def set_(
    ctx: typer.Context,
    device_id: DeviceId,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE…", help="`KEY=` removes the attribute.")
    ] = None,
    *,
    unset: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Remove this attribute.")] = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Set a device's attributes. The fleet's schema says which there are and of what type."""
    options = Options.of(ctx, stack, as_json=as_json)
    texts = dict(_pairs(changes or [])) | dict.fromkeys(unset or [], "")
    if not texts:
        raise typer.BadParameter("name at least one attribute to set or remove", param_hint="KEY=VALUE")
    with output.failures(as_json=options.as_json):
        operate = Operate(options.stack_name)
        attributes = values.typed(texts, values.fitting(operate.fleets().in_force))
        device = operate.call("devices.set", deviceId=device_id, attributes=attributes)
        output.result(device, describe.device, as_json=options.as_json)


@app.command()
def explain(
    ctx: typer.Context,
    device_id: DeviceId,
    *,
    context: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="What if: a circumstance of the call, e.g. roleAlias=telemetry."
        ),
    ] = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Say which rule gives the device which grant, and what its sessions may do.

    Without a roleAlias: for every role alias, and for MQTT, which has none.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    circumstances = dict(_pairs(context or []))
    with output.failures(as_json=options.as_json):
        explanation = Operate(options.stack_name).call(
            "devices.explain", deviceId=device_id, context=circumstances
        )
        output.result(explanation, describe.explanation, as_json=options.as_json)


def _fingerprint(certificate: str) -> str:
    """The SHA-256 (hex) of a certificate, given as that or as a file."""
    plain = certificate.replace(":", "").lower()
    if _SHA256.fullmatch(plain):
        return plain
    try:
        return chain.fingerprint(chain.parse(Path(certificate).read_text()))
    except (OSError, ValueError, CertificateMalformed) as error:
        raise typer.BadParameter(f"{certificate} is neither a SHA-256 nor a PEM certificate") from error


def _confirm(question: str, *, yes: bool) -> None:
    if not yes and output.someone_can_answer():
        typer.confirm(question, abort=True, err=True)


def _change(options: Options, operation: str, device_id: str) -> None:
    with output.failures(as_json=options.as_json):
        device = Operate(options.stack_name).call(operation, deviceId=device_id)
        output.result(device, describe.device, as_json=options.as_json)


def _pairs(texts: list[str]) -> list[tuple[str, str]]:
    try:
        return [values.pair(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
