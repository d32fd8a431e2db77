"""A production run's folder. The run may be killed at any point and begun again.

    run.json      which run this is: the first file there
    NAME.key      a private key that was made here
    NAME.pem      a certificate, then its CA's where the group's trust lacks it
    manifest.csv  a row a device

A file is put in place whole, and is on the disk before the next one is begun. So a certificate's file
is the fact that it was made: a run that finds one records it instead of making a second.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from console.cloud import Refused
from firstboot.pki import chain
from firstboot.pki.errors import CertificateMalformed

RUN = "run.json"
MANIFEST = "manifest.csv"
_PART = ".part"


class Manifest:
    """manifest.csv, open at its end."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._rows = csv.writer(file, lineterminator="\n")

    def add(self, row: Sequence[str]) -> None:
        """Add a row. It is on the disk after the next `sync`."""
        self._rows.writerow(row)

    def sync(self) -> None:
        """Have every row on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())


class Folder:
    """The folder of the run that `run` describes: the same in every attempt at it.

    Raises Refused if there is something else.
    """

    def __init__(self, path: Path, run: dict[str, str]) -> None:
        self.path = path
        self._run = run
        self._check()

    def _check(self) -> None:
        there = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        if RUN not in there and there - {RUN + _PART}:
            raise _refused(f"{self.path} is neither empty nor a production run's folder")
        if RUN in there and (self.path / RUN).read_bytes() != self._description:
            raise _refused(f"{self.path} holds another run, or one that is not this: see {RUN} there")

    @property
    def _description(self) -> bytes:
        return json.dumps(self._run, indent=2).encode() + b"\n"

    def certificate(self, name: str) -> x509.Certificate | None:
        """The certificate named `name`, if it was made already.

        Raises Refused if another's is in its place: some file systems take `a` for `A`.
        """
        file = self.path / f"{name}.pem"
        try:
            certificate = chain.parse(file.read_text("ascii"))
        except (FileNotFoundError, UnicodeDecodeError, CertificateMalformed):
            return None
        if chain.common_name(certificate) != name:
            raise _refused(f"{file} is the certificate of {chain.common_name(certificate)}")
        return certificate

    def key(self, name: str) -> ec.EllipticCurvePublicKey | None:
        """The public half of the key that was made for `name`, if it was."""
        try:
            key = load_pem_private_key((self.path / f"{name}.key").read_bytes(), None)
        except (FileNotFoundError, ValueError):
            return None
        return key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else None

    def make_key(self, name: str) -> ec.EllipticCurvePublicKey:
        """A fresh P-256 key for `name`; its private half is in the folder and nowhere else."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.put(f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return key.public_key()

    def put(self, file: str, content: bytes) -> None:
        """Put a file in place: whole, on the disk, and its owner's only from the first byte on."""
        part = self.path / (file + _PART)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        part.replace(self.path / file)
        with _directory(self.path) as descriptor:
            os.fsync(descriptor)

    def recorded(self) -> set[str]:
        """The devices that have their row in the manifest."""
        rows = self._rows()
        next(rows, None)
        return {row.split(b",")[0].strip().decode() for row in rows}

    def _rows(self) -> Iterator[bytes]:
        """The manifest's whole rows, the header first."""
        manifest = self.path / MANIFEST
        if manifest.exists():
            with manifest.open("rb") as file:
                yield from (row for row in file if row.endswith(b"\n"))

    @contextmanager
    def working(self, columns: Sequence[str]) -> Iterator[Manifest]:
        """Begin the run, or go on with it; yields the manifest for its next rows.

        Raises Refused while another process is at it.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        with _directory(self.path) as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _refused(f"another process is at work in {self.path}") from error
            self._check()  # it may have been another's a moment ago
            if not (self.path / RUN).exists():
                self.put(RUN, self._description)
            with self._manifest(columns) as manifest:
                yield manifest

    @contextmanager
    def _manifest(self, columns: Sequence[str]) -> Iterator[Manifest]:
        whole = sum(map(len, self._rows()))
        descriptor = os.open(self.path / MANIFEST, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", newline="", encoding="ascii") as file:
            file.truncate(whole)  # a row that was cut off
            file.seek(whole)
            manifest = Manifest(file)
            if not whole:
                manifest.add(columns)
            yield manifest
            manifest.sync()


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _refused(detail: str) -> Refused:
    return Refused({"code": "folder-in-use", "detail": detail})
