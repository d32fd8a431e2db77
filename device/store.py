"""Keep the state directory, so that a power failure at any instruction loses nothing.

    service.json                   the service's host or broker, and the CA of --ca
    next.private, next.chain       the next identity: first its key, later its certificate
    device.key, certificate.pem    the live identity
    origin.json                    the bootstrap key and the name that these keys were made with
    other/                         another unit's identity, until this unit's own has logged in

Every file is written completely or not at all. The next identity becomes the live one by two renames, key
first; `settle` completes them after a crash between the two.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .certificates import belong_together, common_name, usable

SERVICE = "service.json"
ORIGIN = "origin.json"
OTHER = "other"


@dataclass(frozen=True)
class Identity:
    """A certificate chain and its key, as PEM files."""

    certificate: Path
    key: Path


class Store:
    """The state directory, which is `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._live = Identity(folder / "certificate.pem", folder / "device.key")
        self._next = Identity(folder / "next.chain", folder / "next.private")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory if it is missing, for its owner only, and hold a lock on it."""
        if not self._folder.is_dir():
            self._folder.mkdir(0o700, parents=True, exist_ok=True)
            _sync(self._folder.parent)
        self._folder.chmod(0o700)
        with _opened(self._folder) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield

    def live(self) -> Identity | None:
        """Return the live identity, or None if it is missing or damaged."""
        return self._live if _sound(self._live) else None

    def next(self) -> Identity | None:
        """Return the next identity, or None while it has no certificate."""
        return self._next if _sound(self._next) else None

    def next_key(self) -> bytes | None:
        """Return the key of the next identity (PEM), or None if it is missing or damaged."""
        key = _read(self._next.key)
        return key if key and usable(key) else None

    def keep_next_key(self, key: bytes) -> None:
        """Store the key of the next identity."""
        self._write(self._next.key, key)

    def keep_next(self, key: bytes, chain: bytes) -> Identity:
        """Store the next identity and return it. `key` may be the live identity's, certified again."""
        if self.next_key() != key:
            self.keep_next_key(key)
        self._write(self._next.certificate, chain)
        return self._next

    def promote(self) -> None:
        """Make the next identity the live one."""
        self._next.key.replace(self._live.key)
        # The key must be on disk first. In the other order a power failure could leave the new certificate
        # beside the old key, and lose the new key.
        _sync(self._folder)
        self._next.certificate.replace(self._live.certificate)
        _sync(self._folder)
        self.forget_other()

    def names(self) -> set[str]:
        """Return the device ids in the certificates of the live and the next identity."""
        chains = filter(None, (_read(each.certificate) for each in (self._live, self._next)))
        return {name for chain in chains if (name := _name(chain))}

    def has_other(self) -> bool:
        """Return whether another unit's identity was set aside, completely or not."""
        return (self._folder / OTHER).is_dir()

    def set_aside(self) -> None:
        """Move both identities to a directory of their own. A repeat after a crash moves what is left."""
        other = self._folder / OTHER
        if not other.is_dir():
            other.mkdir(0o700)
            _sync(self._folder)
        # A next certificate without its key looks like an interrupted promotion, so the certificate goes
        # first.
        for file in (self._next.certificate, self._next.key, self._live.key, self._live.certificate):
            if (other / file.name).exists():
                # It is a remainder of an enrollment that did not end. What was set aside first is kept.
                file.unlink(missing_ok=True)
            elif file.exists():
                file.replace(other / file.name)
                _sync(other)
            _sync(self._folder)

    def forget_other(self) -> None:
        """Delete what was set aside."""
        other = self._folder / OTHER
        if not other.is_dir():
            return
        for file in other.iterdir():
            file.unlink()
        other.rmdir()
        _sync(self._folder)

    def forget_next(self) -> None:
        """Delete the next identity and its key, because a new enrollment needs a new key."""
        files = [self._next.key, self._next.certificate]
        # A crash may leave one of the two files. A key alone looks like one that was never certified, so the
        # key goes first. If the next key is the live key, a certificate alone looks like a promotion that was
        # interrupted, so the certificate goes first.
        if self.next_key() == _read(self._live.key):
            files.reverse()
        for file in files:
            file.unlink()
            _sync(self._folder)

    def settle(self) -> None:
        """Finish an interrupted `promote` or `forget_next`."""
        if self._next.key.exists() or not self._next.certificate.exists():
            return
        if _sound(Identity(self._next.certificate, self._live.key)):
            self._next.certificate.replace(self._live.certificate)
        else:
            self._next.certificate.unlink()
        _sync(self._folder)

    def settled(self) -> Identity | None:
        """Wait for other processes, finish an interrupted step, and return the live identity."""
        with self.locked():
            self.settle()
            return self.live()

    def service(self) -> bytes | None:
        """Return what `keep_service` stored."""
        return _read(self._folder / SERVICE)

    def keep_service(self, text: bytes) -> None:
        """Store the service's address and CA."""
        if self.service() != text:
            self._write(self._folder / SERVICE, text)

    def origin(self) -> bytes | None:
        """Return what `keep_origin` stored."""
        return _read(self._folder / ORIGIN)

    def keep_origin(self, text: bytes) -> None:
        """Store what the next keys are made with."""
        if self.origin() != text:
            self._write(self._folder / ORIGIN, text)

    def _write(self, path: Path, content: bytes) -> None:
        # All writes use one temporary name, so the next write replaces what a crash left.
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


def _name(chain: bytes) -> str | None:
    try:
        return common_name(chain)
    except ValueError:
        return None


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
