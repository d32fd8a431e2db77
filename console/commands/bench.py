"""`console factory ca`: a factory to try things with, in the place of the example's. Needs no AWS."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from console import fleet_folder, output
from console.cloud import Refused
from console.options import Json, Options
from firstboot.compiler.source import TRUST
from firstboot.compiler.trust import is_placeholder
from firstboot.pki import chain
from firstboot.pki.profile import authority_certificate

_YEARS = 30
_SUBJECT = "Bench Factory CA"


def ca(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Option("--group", help="The group that will trust it.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="A new folder, for ca.pem and ca.key.")],
    folder: Annotated[
        Path, typer.Option("--fleet", exists=True, file_okay=False, help="The fleet folder.")
    ] = Path("fleet"),
    as_json: Json = False,
) -> None:
    """Make a factory CA for a bench, and have the fleet folder trust it instead of the example's.

    The example's CAs are placeholders: nobody has their keys. Any other trust anchor is left alone. A
    deployment must follow. The key is not encrypted: make a product's CA otherwise (fleet/trust/README.md).
    """
    options = Options.of(ctx, None, as_json=as_json)
    with output.failures(as_json=options.as_json):
        anchor = _placeholder(folder, name)
        pem = _make(out)
        # Last: a folder that trusts a CA without a key admits nobody.
        part = anchor.with_suffix(".part")
        part.write_bytes(pem)
        part.replace(anchor)
        made = {"group": name, "anchor": str(anchor), "ca": str(out / "ca.pem"), "key": str(out / "ca.key")}
        output.result(made, _describe, as_json=options.as_json)


def _placeholder(folder: Path, name: str) -> Path:
    """The file that is a placeholder which the group trusts, and nothing else.

    Raises Refused.
    """
    groups = fleet_folder.load(folder).groups
    trusted = groups[name].trust if name in groups else ()
    placeholders = {pem.encode() for pem in trusted if is_placeholder(chain.anchor(pem))}
    for file in sorted(folder.glob(TRUST)):
        if file.read_bytes() in placeholders:
            return file
    detail = f"group {name} of {folder} trusts none of the example's placeholders: its anchors are somebody's"
    raise Refused({"code": "no-placeholder", "detail": detail})


def _make(out: Path) -> bytes:
    """Write a new CA's key and certificate into the new folder `out`; returns the certificate's PEM.

    Raises Refused.
    """
    try:
        out.mkdir(mode=0o700, parents=True)
    except FileExistsError as error:
        raise Refused({"code": "folder-in-use", "detail": f"{out} is there already"}) from error
    key = ec.generate_private_key(ec.SECP256R1())
    pem = authority_certificate(key, _SUBJECT, datetime.now(UTC), _YEARS).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for file, content in {"ca.key": private, "ca.pem": pem}.items():
        with os.fdopen(os.open(out / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content)
    return pem


def _describe(made: output.Record) -> list[str]:
    return [f"{made['anchor']} is now {made['ca']}, whose key is {made['key']}. Deploy to have it trusted."]
