"""Write the folder of a production run. The run can be killed at any point and started again.

    run.json      which run this is; the first file in the folder
    NAME.key      a private key that was made here
    NAME.pem      a certificate, followed by its CA's if that is not a trust anchor of the group
    manifest.csv  a row for each device

Each file is written completely, and is on the disk, before the next one is begun. So a certificate was made
if its file exists: a run that finds the file adds the row and does not make a second certificate.
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
from console.csv_file import written
from console.files import ignores_case, naming
from firstboot.pki import chain
from firstboot.pki.errors import CertificateMalformed

RUN = "run.json"
MANIFEST = "manifest.csv"
_PART = ".part"


class Manifest:
    """The file manifest.csv, open at its end."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._rows = csv.writer(file, lineterminator="\n")

    def add(self, row: Sequence[str]) -> None:
        """Add a row, which the next `sync` writes to the disk."""
        self._rows.writerow(written(row))

    def sync(self) -> None:
        """Write every row to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())


class Folder:
    """The folder of the run that `run` describes. Every attempt at the run has the same description.

    Raises Refused if the folder has something else in it.
    """

    def __init__(self, path: Path, run: dict[str, str]) -> None:
        self.path = path
        self._run = run
        self._check()

    def _check(self) -> None:
        there = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        if RUN not in there and there - {RUN + _PART}:
            raise _refused(f"{self.path} is neither empty nor the folder of a production run")
        if RUN in there and (self.path / RUN).read_bytes() != self._description:
            raise _refused(f"{self.path} is the folder of another run: see {RUN} in it")

    @property
    def _description(self) -> bytes:
        return json.dumps(self._run, indent=2).encode() + b"\n"

    def check_apart(self, name: str, other: str) -> None:
        """Refuse a name that differs from `other` in case only, on a disk that ignores case.

        Raises Refused.
        """
        if name != other and self.ignores_case():
            raise _refused(
                f"{name} and {other} differ in case only, and {self.path} takes their files for one"
            )

    def ignores_case(self) -> bool:
        """Return whether the folder's disk takes `a` and `A` for one file."""
        return ignores_case(self.path)

    def certificate(self, name: str) -> x509.Certificate | None:
        """Return the certificate named `name`, or None if it was not made yet.

        Raises Refused if the file has another device's certificate. On a file system that ignores case, `a`
        and `A` have the same file.
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
        """Return the public half of the key that was made for `name`, or None if none was."""
        try:
            key = load_pem_private_key((self.path / f"{name}.key").read_bytes(), None)
        except (FileNotFoundError, ValueError):
            return None
        return key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else None

    def make_key(self, name: str) -> ec.EllipticCurvePublicKey:
        """Make a P-256 key for `name` and return its public half. The private half is in the folder only."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.put(f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return key.public_key()

    def put(self, file: str, content: bytes) -> None:
        """Write a file completely and to the disk. From the first byte on, only its owner can read it."""
        part = self.path / (file + _PART)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with naming(part), os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        part.replace(self.path / file)
        with _directory(self.path) as descriptor:
            os.fsync(descriptor)

    def recorded(self) -> set[str]:
        """Return the devices that have their row in the manifest.

        Raises Refused if the manifest is not ASCII, as this program writes it.
        """
        rows = self._rows()
        next(rows, None)
        try:
            return {row.split(b",")[0].strip().decode("ascii") for row in rows}
        except UnicodeDecodeError as error:
            raise _refused(f"{self.path / MANIFEST} is not the manifest of a production run") from error

    def _rows(self) -> Iterator[bytes]:
        """Yield the complete rows of the manifest, the header first."""
        manifest = self.path / MANIFEST
        if manifest.exists():
            with manifest.open("rb") as file:
                yield from (row for row in file if row.endswith(b"\n"))

    @contextmanager
    def working(self, columns: Sequence[str]) -> Iterator[Manifest]:
        """Begin the run or continue it. Yield the manifest, for its next rows.

        Raises Refused while another process works in the folder.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)
        with _directory(self.path) as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise _refused(f"another process is at work in {self.path}") from error
            self._check()  # once more, because another run may have begun before the lock was taken
            if not (self.path / RUN).exists():
                self.put(RUN, self._description)
            with self._manifest(columns) as manifest:
                yield manifest

    @contextmanager
    def _manifest(self, columns: Sequence[str]) -> Iterator[Manifest]:
        whole = sum(map(len, self._rows()))
        path = self.path / MANIFEST
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with naming(path), os.fdopen(descriptor, "w", newline="", encoding="ascii") as file:
            file.truncate(whole)  # removes a row that an interruption cut off
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
