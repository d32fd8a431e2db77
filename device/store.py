"""Keep the state directory, so that a power failure at any instruction loses nothing.

    service.json                   the service's host or broker, and the CA of --ca
    next.private, next.chain       the next identity: first its key, later its certificate
    device.key, certificate.pem    the live identity
    next.reference                 in the place of next.private: the reference to a key in hardware
    device.reference               in the place of device.key
    made.json                      the URIs of the keys that were made in hardware, from before they are made
    origin.json                    the bootstrap key and the name that these keys were made with
    other/                         another unit's identity, until this unit's own has logged in

Every file is written completely or not at all. The next identity becomes the live one by two renames, key
first; `settle` completes them after a crash between the two.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from . import hardware
from .certificates import belong_together, common_name, usable
from .hardware import Reference
from .key_uri import KeyUri

SERVICE = "service.json"
ORIGIN = "origin.json"
MADE = "made.json"
OTHER = "other"


@dataclass(frozen=True)
class Identity:
    """A certificate chain (a PEM file), and its key: a PEM file, or the reference to a key in hardware."""

    certificate: Path
    key: Path | Reference


@dataclass(frozen=True)
class FileIdentity(Identity):
    """An identity whose key is in a file."""

    key: Path


class Store:
    """The state directory, which is `folder`. `place` is where new keys are made if they are in hardware; its
    query says how to reach those that are there.
    """

    def __init__(self, folder: Path, place: KeyUri | None = None) -> None:
        self._folder = folder
        self._place = place
        self._certificate, self._chain = folder / "certificate.pem", folder / "next.chain"
        self._live_keys = [folder / "device.key", folder / "device.reference"]
        self._next_keys = [folder / "next.private", folder / "next.reference"]

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
        # A promotion that was interrupted leaves an older key of the other kind, which is for no certificate.
        return next(filter(None, (self._sound(self._certificate, key) for key in self._live_keys)), None)

    def next(self) -> Identity | None:
        """Return the next identity, or None while it has no certificate."""
        return next(filter(None, (self._sound(self._chain, key) for key in self._next_keys)), None)

    def next_key(self) -> bytes | None:
        """Return the key of the next identity (PEM or a reference), or None if it is missing or damaged."""
        keys = filter(None, (self._key(file) for file in self._next_keys))
        return next((key for key in keys if usable(key)), None)

    def all_keys(self) -> list[bytes]:
        """Return all keys and references here, those of another unit included."""
        files = [*self._live_keys, *self._next_keys]
        others = [self._folder / OTHER / file.name for file in files]
        return list(filter(None, (self._key(file) for file in (*files, *others))))

    def keep_next_key(self, key: bytes) -> None:
        """Store the key of the next identity."""
        reference = hardware.parse(key)
        file, other = self._next_keys if reference is None else reversed(self._next_keys)
        if other.exists():
            other.unlink()
            _sync(self._folder)
        self._write(file, key if reference is None else reference.stored())

    def keep_next(self, key: bytes, chain: bytes) -> Identity:
        """Store the next identity and return it. `key` may be the live identity's, certified again."""
        if self.next_key() != key:
            self.keep_next_key(key)
        self._write(self._chain, chain)
        return Identity(self._chain, self._reference(key) or self._next_keys[0])

    def promote(self) -> None:
        """Make the next identity the live one."""
        for file, live in zip(self._next_keys, self._live_keys, strict=True):
            if file.exists():
                file.replace(live)
        # The key must be on disk first. In the other order a power failure could leave the new certificate
        # beside the old key, and lose the new key.
        _sync(self._folder)
        self._chain.replace(self._certificate)
        _sync(self._folder)
        self._forget_older_key()
        self.forget_other()

    def _forget_older_key(self) -> None:
        """Delete the live key of the other kind, which a promotion leaves that changes the kind."""
        live = self.live()
        if live and all(file.exists() for file in self._live_keys):
            older = self._live_keys[isinstance(live.key, Path)]
            older.unlink()
            _sync(self._folder)

    def names(self) -> set[str]:
        """Return the device ids in the certificates of the live and the next identity."""
        chains = filter(None, map(_read, (self._certificate, self._chain)))
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
        for file in (self._chain, *self._next_keys, *self._live_keys, self._certificate):
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
        files = [*(file for file in self._next_keys if file.exists()), self._chain]
        # A crash may leave one of the two files. A key alone looks like one that was never certified, so the
        # key goes first. If the next key is the live key, a certificate alone looks like a promotion that was
        # interrupted, so the certificate goes first.
        if self.next_key() in map(self._key, self._live_keys):
            files.reverse()
        for file in files:
            file.unlink()
            _sync(self._folder)

    def settle(self) -> None:
        """Finish an interrupted `promote` or `forget_next`."""
        if self._chain.exists() and not any(file.exists() for file in self._next_keys):
            if any(self._sound(self._chain, key) for key in self._live_keys):
                self._chain.replace(self._certificate)
            else:
                self._chain.unlink()
            _sync(self._folder)
        self._forget_older_key()

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

    def made(self) -> list[str]:
        """Return what `keep_made` stored."""
        made: list[str] = json.loads(_read(self._folder / MADE) or b"[]")
        return made

    def keep_made(self, uris: list[str]) -> None:
        """Store the URIs of keys in hardware."""
        self._write(self._folder / MADE, json.dumps(uris).encode())

    def keep_origin(self, text: bytes) -> None:
        """Store what the next keys are made with."""
        if self.origin() != text:
            self._write(self._folder / ORIGIN, text)

    def _key(self, file: Path) -> bytes | None:
        """Return the key in a file, or the reference with the way to the hardware."""
        key = _read(file)
        reference = self._reference(key)
        return reference.read_bytes() if reference else key

    def _reference(self, key: bytes | None) -> Reference | None:
        try:
            reference = hardware.parse(key or b"")
        except ValueError:
            return None
        if reference and self._place and self._place.scheme == reference.uri.scheme:
            return replace(reference, uri=replace(reference.uri, query=self._place.query))
        return reference

    def _sound(self, certificate: Path, file: Path) -> Identity | None:
        """Return the identity of two files, or None if one is missing or damaged."""
        key, chain = _read(file), _read(certificate)
        if key is None or chain is None or not belong_together(key, chain):
            return None
        return Identity(certificate, self._reference(key) or file)

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
