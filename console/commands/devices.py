"""`console devices`: the device records, and what devices hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from console import describe, output, pairs
from console.attributes import Attributes, Value
from console.cloud import Operate
from console.commands import explaining, importing
from console.options import Json, Options, Stack, Yes, command_group
from firstboot.pki.certificate import Certificate, parse_text
from firstboot.pki.errors import CertificateMalformed

app = command_group("List, show, change, repair, import, revoke and delete devices.")

_SHA256 = re.compile("[0-9a-f]{64}")

DeviceId = Annotated[str, typer.Argument(metavar="ID", help="The device's id.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    enrolled_by: Annotated[
        str | None,
        typer.Option(
            metavar="CERT",
            help="Only devices that this bootstrap certificate enrolled: a PEM file, or its SHA-256.",
        ),
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(
            metavar="CA",
            help="Only devices that enrolled under this trust anchor: a PEM file, or the SHA-256 of its key.",
        ),
    ] = None,
    suspect: Annotated[
        bool,
        typer.Option("--suspect", help="Only devices whose enrollments look like those of two boards."),
    ] = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """List every device, in no particular order.

    At a terminal, a device that needs more than one line continues on the next. In a pipe, each device is
    one line.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    # A record has the fingerprint of each form of the certificate. Records of older versions have one alone.
    by = _sha256(enrolled_by, lambda found: found.fingerprint, "--enrolled-by") if enrolled_by else None
    under = _sha256(anchor, Certificate.spki_fingerprint, "--anchor") if anchor else None
    with output.failures(as_json=options.as_json):
        devices = output.counted("devices", Operate(options.stack_name).devices(by, under, suspect=suspect))
        if options.as_json:
            output.array("devices", devices)
            return
        width = output.width()
        output.line(describe.header(width))
        output.lines(describe.row(device, width) for device in devices)


@app.command()
def show(ctx: typer.Context, device_id: DeviceId, *, stack: Stack = None, as_json: Json = False) -> None:
    """Show a device's record."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        device = Operate(options.stack_name).call("devices.show", deviceId=device_id)
        output.result(device, _describe, as_json=options.as_json)


@app.command()
def revoke(
    ctx: typer.Context,
    device_id: DeviceId,
    *,
    yes: Yes = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Revoke a device for good.

    Every later call of the device is refused. Credentials that it has already stay valid until they expire.
    The command asks first if standard input is a terminal.
    """
    question = f"Revoke device {device_id} for good?"
    _change(Options.of(ctx, stack, as_json=as_json), "devices.revoke", device_id, question, yes=yes)


@app.command()
def delete(
    ctx: typer.Context,
    device_id: DeviceId,
    *,
    yes: Yes = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Delete a device, so that its id is free again.

    The device loses its rights at once. Any holder of its bootstrap certificate can enroll it again, so
    revoke a device that must not come back. Its record disappears when AWS IoT has no trace of the device
    any more. The command asks first if standard input is a terminal.
    """
    question = f"Delete device {device_id}? It can enroll again afterwards."
    _change(Options.of(ctx, stack, as_json=as_json), "devices.delete", device_id, question, yes=yes)


@app.command()
def repair(ctx: typer.Context, device_id: DeviceId, *, stack: Stack = None, as_json: Json = False) -> None:
    """Bring the lost object of a device's active certificate back.

    It comes from an older version in the bucket, or from AWS IoT's copy of the certificate.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        found = Operate(options.stack_name).call("devices.repair", deviceId=device_id)
        output.result(found, describe.repair, as_json=options.as_json)


@app.command()
def rebind(
    ctx: typer.Context,
    device_id: DeviceId,
    *,
    key: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="The other key: a PEM file of its bootstrap certificate, or the SHA-256 of the key.",
        ),
    ],
    until: Annotated[
        datetime,
        typer.Option(metavar="DAY", formats=["%Y-%m-%d"], help="The last day of the admission (UTC)."),
    ],
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Admit another bootstrap key of a device once.

    A board that replaces another one has another key. Once it has enrolled, by the end of that day (UTC), the
    device is bound to its key. Until then the former board goes on. A second admission replaces the first.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    spki = _sha256(key, Certificate.spki_fingerprint, "--key")
    with output.failures(as_json=options.as_json):
        device = Operate(options.stack_name).call(
            "devices.rebind", deviceId=device_id, key=spki, until=until.date().isoformat()
        )
        output.result(device, _describe, as_json=options.as_json)


@app.command()
def token(
    ctx: typer.Context,
    device_id: DeviceId,
    *,
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The device's group. Required if the device has no record."),
    ] = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Make a one-time password that admits a device by EST.

    The device uses it once, within an hour, for one key. The password is shown now and never again. Its use
    is counted by the group's limits like any other enrollment.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        named = {"group": group} if group else {}
        made = Operate(options.stack_name).call("devices.token", deviceId=device_id, **named)
        output.result(made, describe.password, as_json=options.as_json)


@app.command("set")
def set_(
    ctx: typer.Context,
    device_id: DeviceId,
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="`KEY=` removes the attribute.")
    ] = None,
    *,
    unset: Annotated[list[str] | None, typer.Option(metavar="KEY", help="Remove this attribute.")] = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Set attributes of a device. The fleet's schema has their names and types."""
    options = Options.of(ctx, stack, as_json=as_json)
    texts = pairs.split(changes or [], "KEY=VALUE") | dict.fromkeys(unset or [], "")
    if not texts:
        raise typer.BadParameter("name at least one attribute to set or remove", param_hint="KEY=VALUE")
    with output.failures(as_json=options.as_json):
        operate = Operate(options.stack_name)
        typed = _typed(texts, Attributes(operate.fleets().in_force))
        device = operate.call("devices.set", deviceId=device_id, attributes=typed)
        output.result(device, _describe_set, as_json=options.as_json)


app.command("explain")(explaining.explain_)
app.command("import")(importing.import_)


def _describe(device: output.Record) -> list[str]:
    return describe.device(device, output.width())


def _describe_set(device: output.Record) -> list[str | Text]:
    record = {name: value for name, value in device.items() if name != "warnings"}
    return [*_describe(record), *output.warnings(device)]


def _sha256(certificate: str, of: Callable[[Certificate], str], hint: str) -> str:
    """Return the SHA-256 (hex) that is given itself, or the one `of` the certificate in the given file."""
    plain = certificate.replace(":", "").lower()
    if _SHA256.fullmatch(plain):
        return plain
    try:
        return of(parse_text(Path(certificate).read_text()))
    except OSError as error:
        detail = f"{certificate} is neither a SHA-256 nor a file that can be read ({error.strerror})"
        raise typer.BadParameter(detail, param_hint=hint) from error
    except (ValueError, CertificateMalformed) as error:
        raise typer.BadParameter(f"{certificate} is not a PEM certificate", param_hint=hint) from error


def _change(options: Options, operation: str, device_id: str, question: str, *, yes: bool) -> None:
    """Carry out an operation that cannot be undone, after a confirmation."""
    with output.failures(as_json=options.as_json):
        operate = Operate(options.stack_name)
        output.confirm(f"{question} ({operate.where})", yes=yes)
        device = operate.call(operation, deviceId=device_id)
        output.result(device, _describe, as_json=options.as_json)


def _typed(texts: dict[str, str], schema: Attributes) -> dict[str, Value | None]:
    """Return the attributes with values of the schema's types. None removes an attribute.

    An attribute that the schema no longer has can be removed too. Raises Refused with every problem found.
    """
    values = pairs.typed({name: text for name, text in texts.items() if text}, schema.parse)
    return {name: values.get(name) for name in texts}
