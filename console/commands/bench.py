"""`console factory ca`: a factory CA for trying things, in place of the example's. It needs no AWS."""

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
from console.options import FleetFolder, Json, Options
from firstboot.compiler.source import TRUST
from firstboot.compiler.trust import is_placeholder
from firstboot.pki import certificate
from firstboot.pki.profile import authority_certificate

_YEARS = 30
_SUBJECT = "Bench Factory CA"


def ca(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Option("--group", metavar="GROUP", help="The group that will trust the CA.")],
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", file_okay=False, help="A new folder, for ca.pem and ca.key."),
    ],
    folder: FleetFolder = Path("fleet"),
    as_json: Json = False,
) -> None:
    """Make a factory CA for a bench.

    The fleet folder then trusts this CA in place of the example's, whose key was thrown away. The command
    replaces no other trust anchor. Deploy afterwards. The key is not encrypted, so make the CA of a
    product in another way (fleet/trust/README.md).
    """
    options = Options.of(ctx, None, as_json=as_json)
    with output.failures(as_json=options.as_json):
        anchor = _placeholder(folder, name)
        pem = _make(out)
        # The anchor comes last, because no device can enroll under a CA whose key was not written.
        part = anchor.with_suffix(".part")
        part.write_bytes(pem)
        part.replace(anchor)
        made = {"group": name, "anchor": str(anchor), "ca": str(out / "ca.pem"), "key": str(out / "ca.key")}
        output.result(made, _describe, as_json=options.as_json)


def _placeholder(folder: Path, name: str) -> Path:
    """Return the trust anchor's file that holds one of the group's placeholders and nothing else.

    Raises Refused.
    """
    groups = fleet_folder.load(folder).groups
    trusted = groups[name].trust if name in groups else ()
    placeholders = {pem.encode() for pem in trusted if is_placeholder(certificate.anchor(pem))}
    for file in sorted(folder.glob(TRUST)):
        if file.read_bytes() in placeholders:
            return file
    detail = f"group {name} of {folder} trusts none of the example's placeholders, so no anchor was replaced"
    raise Refused({"code": "no-placeholder", "detail": detail})


def _make(out: Path) -> bytes:
    """Write a new CA's key and certificate into the new folder `out`, and return the certificate's PEM.

    Raises Refused.
    """
    try:
        out.mkdir(mode=0o700, parents=True)
    except FileExistsError as error:
        raise Refused({"code": "folder-in-use", "detail": f"{out} exists already"}) from error
    key = ec.generate_private_key(ec.SECP256R1())
    pem = authority_certificate(key, _SUBJECT, datetime.now(UTC), _YEARS).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for file, content in {"ca.key": private, "ca.pem": pem}.items():
        with os.fdopen(os.open(out / file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content)
    return pem


def _describe(made: output.Record) -> list[str]:
    return [
        f"{made['anchor']} is now a copy of {made['ca']}. The CA's key is {made['key']}.",
        "Deploy, so that the stack trusts it.",
    ]
