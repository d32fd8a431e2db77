"""The state directory: written so that power may fail at any instruction.

    service.json                   the service's host or broker, and its CA if that is no known one
    next.private, next.chain       an identity in the making: key first, certificate when it came
    device.key, certificate.pem    the live identity

Every file appears whole or not at all. An identity goes live by two renames, key first;
`settle` finishes what a crash between the two left.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device.certificates import belong_together, usable

SERVICE = "service.json"


@dataclass(frozen=True)
class Identity:
    """A certificate chain and its key, as PEM files."""

    certificate: Path
    key: Path


class Store:
    """The state directory `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._live = Identity(folder / "certificate.pem", folder / "device.key")
        self._next = Identity(folder / "next.chain", folder / "next.private")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory if need be, for its owner only; keep other processes from changing it."""
        if not self._folder.is_dir():
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            _sync(self._folder.parent)
        self._folder.chmod(0o700)
        with _opened(self._folder) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield

    def live(self) -> Identity | None:
        """The live identity, if there is a sound one."""
        return self._live if _sound(self._live) else None

    def next(self) -> Identity | None:
        """The identity in the making, if its certificate has come."""
        return self._next if _sound(self._next) else None

    def next_key(self) -> bytes | None:
        """The key of the identity in the making (PEM), if there is a sound one."""
        key = _read(self._next.key)
        return key if key and usable(key) else None

    def keep_next_key(self, key: bytes) -> None:
        """Begin an identity."""
        self._write(self._next.key, key)

    def keep_next(self, key: bytes, chain: bytes) -> Identity:
        """Complete the identity in the making: `key` may be the live one's, certified again."""
        if self.next_key() != key:
            self.keep_next_key(key)
        self._write(self._next.certificate, chain)
        return self._next

    def promote(self) -> None:
        """Make the identity in the making the live one."""
        self._next.key.replace(self._live.key)
        # Out of order on disk, the new certificate would stand beside the old key, the new key lost.
        _sync(self._folder)
        self._next.certificate.replace(self._live.certificate)
        _sync(self._folder)

    def forget_next(self) -> None:
        """Give up the identity in the making, and its key: a new enrollment needs a new one."""
        files = [self._next.key, self._next.certificate]
        # Between the two, the key alone would be taken for one that was never certified; but beside
        # the live identity's own key, the certificate alone would be taken for a promoted one.
        if self.next_key() == _read(self._live.key):
            files.reverse()
        for file in files:
            file.unlink()
            _sync(self._folder)

    def settle(self) -> None:
        """Finish a promotion, or a giving up, that was interrupted."""
        if self._next.key.exists() or not self._next.certificate.exists():
            return
        if _sound(Identity(self._next.certificate, self._live.key)):
            self._next.certificate.replace(self._live.certificate)
        else:
            self._next.certificate.unlink()
        _sync(self._folder)

    def settled(self) -> Identity | None:
        """The live identity, after waiting for what is under way and finishing what was interrupted."""
        with self.locked():
            self.settle()
            return self.live()

    def service(self) -> bytes | None:
        """What `keep_service` was given."""
        return _read(self._folder / SERVICE)

    def keep_service(self, text: bytes) -> None:
        """Remember the service."""
        if self.service() != text:
            self._write(self._folder / SERVICE, text)

    def _write(self, path: Path, content: bytes) -> None:
        # One name for every write: what a crash leaves is written over by the next.
        temporary = self._folder / "unfinished"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(self._folder)


def _sound(identity: Identity) -> bool:
    key, chain = _read(identity.key), _read(identity.certificate)
    return key is not None and chain is not None and belong_together(key, chain)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _sync(folder: Path) -> None:
    with _opened(folder) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
