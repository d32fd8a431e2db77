"""`console factory revoke`: refuse a bootstrap certificate for good."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console import output
from console.cloud import Operate
from console.options import Json, Options, Stack, Yes
from firstboot.pki.certificate import parse_text
from firstboot.pki.errors import CertificateMalformed

Bootstrap = Annotated[
    Path, typer.Argument(metavar="CERT", exists=True, dir_okay=False, help="The bootstrap certificate, PEM.")
]


def revoke(
    ctx: typer.Context,
    certificate: Bootstrap,
    *,
    yes: Yes = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Revoke a bootstrap certificate for good.

    No device enrolls with it any more, in either form of its signature and over any transport.

    The command asks first when standard input is a terminal. Devices that it has enrolled keep their own
    certificates; `devices list --enrolled-by CERT` lists them. Repeating the command is safe.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    pem = _read(certificate)
    output.confirm(f"Revoke {certificate} for good?", yes=yes)
    with output.failures(as_json=options.as_json):
        result = Operate(options.stack_name).call("factory.revoke", certificate=pem)
        output.result(result, _described, as_json=options.as_json)
    if "unavailable" in result["awsIot"].values():
        output.note("AWS IoT did not answer, so the certificate may still connect there: repeat the command")
        raise typer.Exit(output.UNREACHABLE)


def _read(file: Path) -> str:
    try:
        return parse_text(file.read_text(encoding="latin-1")).pem
    except CertificateMalformed as error:
        raise typer.BadParameter(f"{file}: {error.detail}") from error


def _described(result: output.Record) -> list[str]:
    lines = [f"Firstboot refuses the bootstrap certificate {result['identifier']} from now on"]
    return lines + [f"AWS IoT, {each}: {outcome}" for each, outcome in result["awsIot"].items()]
