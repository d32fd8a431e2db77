"""A factory for tests: the example fleet with a CA made here, and `console factory issue` for it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner, Result

from console.__main__ import app
from tests import factories
from tests.factories import Authority

PublicKey = Any


@dataclass(frozen=True)
class Factory:
    """The folder of a factory: fleet/, and ca.pem and ca.key of its CA. A run's files go into `out`."""

    folder: Path
    ca: Authority
    out: Path

    @classmethod
    def build(cls, folder: Path, ca: Authority | None = None, anchor: Authority | None = None) -> Factory:
        """Return a factory whose `ca` signs. `anchor` is the group's trust anchor, by default `ca` itself."""
        ca = ca or factories.authority(days=10_950)
        shutil.copytree("fleet", folder / "fleet")
        (folder / "fleet/trust/acme-factory.pem").write_text(factories.pem((anchor or ca).certificate))
        (folder / "ca.pem").write_text(factories.pem(ca.certificate))
        (folder / "ca.key").write_text(factories.key_pem(ca.key))
        return cls(folder, ca, folder / "out")

    def command(self, *more: str, group: str = "gateways") -> list[str]:
        """Return the console's arguments."""
        files = {"ca-cert": "ca.pem", "ca-key": "ca.key", "fleet": "fleet"}
        here = [f"--{option}={self.folder / file}" for option, file in files.items()]
        return ["factory", "issue", "--group", group, *here, f"--out={self.out}", *more]

    def issue(self, *more: str, group: str = "gateways", typed: str | None = None) -> Result:
        """Run the command in this process. Its standard input is the text `typed` and no terminal."""
        return CliRunner().invoke(app, self.command(*more, group=group), input=typed)

    def manifest(self) -> list[dict[str, str]]:
        """Return the rows of the run's manifest."""
        with (self.out / "manifest.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def chain(self, name: str) -> list[x509.Certificate]:
        """Return the certificates in a device's file."""
        return x509.load_pem_x509_certificates((self.out / f"{name}.pem").read_bytes())

    def keys(self, rows: Iterable[tuple[str, str]], header: str = "deviceId,publicKey") -> Path:
        """Write a manifest of public keys. `rows` are device ids and keys, as `base64_key` and `pem_key`
        write them.
        """
        file = self.folder / "keys.csv"
        with file.open("w", newline="") as out:
            out.write(header + "\n")
            csv.writer(out, lineterminator="\n").writerows(rows)
        return file


def public_key() -> PublicKey:
    """Return the public half of a new P-256 key, which is all that a secure element shows."""
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def base64_key(key: PublicKey) -> str:
    """Return a SubjectPublicKeyInfo as base64 of its DER."""
    return factories.base64_text(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def pem_key(key: PublicKey) -> str:
    """Return a SubjectPublicKeyInfo as PEM."""
    text: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()
