"""The device's state directory survives a power failure at any instruction."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from device import certificates
from device.store import Store
from tests import factories


def chain(key: bytes) -> bytes:
    """Return a chain for `key`."""
    ca = factories.authority()
    leaf = ca.issue("dev1", load_pem_private_key(key, None))  # type: ignore[arg-type]
    return (factories.pem(leaf) + factories.pem(ca.certificate)).encode()


@pytest.fixture
def key() -> bytes:
    """Return a new device key."""
    return certificates.new_key()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return the path of a state directory that does not exist yet."""
    return tmp_path / "some" / "state"


@pytest.fixture
def store(state: Path) -> Store:
    """Return a store whose directory has been made."""
    store = Store(state)
    with store.locked():
        return store


def test_only_the_owner_can_read_it(store: Store, state: Path, key: bytes) -> None:
    """The directory has mode 0700 and its files 0600, under any umask."""
    state.chmod(0o755)
    umask = os.umask(0)
    try:
        with store.locked():
            store.keep_next_key(key)
    finally:
        os.umask(umask)
    assert state.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in state.iterdir()] == [0o600]


def test_an_unfinished_identity_has_neither_live_suffix(store: Store, state: Path, key: bytes) -> None:
    """Only the live identity has files that end in .pem and .key; an unfinished one has other suffixes."""
    store.keep_next_key(key)
    store.keep_next(key, chain(key))
    assert {path.name for path in state.iterdir()} == {"next.private", "next.chain"}
    store.promote()
    assert {path.name for path in state.iterdir()} == {"device.key", "certificate.pem"}


def test_one_process_at_a_time(store: Store, state: Path) -> None:
    """A second process cannot lock the directory while the first holds it."""
    other = os.open(state, os.O_RDONLY)
    with store.locked(), pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_every_change_is_on_disk_before_the_next(
    store: Store, key: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change is synced to disk before the next, so that their order does not depend on the disk."""
    calls: list[str] = []

    def record(name: str) -> None:
        original = getattr(os, name)

        def recorded(*arguments: Any, **options: Any) -> Any:
            calls.append("sync" if name == "fsync" else "change")
            return original(*arguments, **options)

        monkeypatch.setattr(os, name, recorded)

    for name in ("fsync", "replace", "unlink"):
        record(name)
    store.keep_service(b"{}")
    store.keep_next_key(key)
    store.keep_next(key, chain(key))
    store.promote()
    store.keep_next_key(key)
    store.keep_next(key, chain(key))
    store.forget_next()
    write, change = ["sync", "change", "sync"], ["change", "sync"]
    assert calls == write * 3 + change * 2 + write * 2 + change * 2


def test_an_interrupted_promotion_is_finished(store: Store, state: Path, key: bytes) -> None:
    """A promotion that stopped between the key and the certificate is finished by the next run."""
    store.keep_next_key(key)
    store.keep_next(key, chain(key))
    (state / "next.private").rename(state / "device.key")
    assert store.live() is None
    assert store.settled() == store.live() is not None
    assert {path.name for path in state.iterdir()} == {"device.key", "certificate.pem"}


def test_an_interrupted_removal_is_finished_and_the_live_identity_kept(
    store: Store, state: Path, key: bytes
) -> None:
    """A next chain whose key is gone is removed by the next run, and the live identity stays."""
    store.keep_next_key(key)
    store.keep_next(key, chain(key))
    store.promote()
    live = store.live()
    (state / "next.chain").write_bytes(chain(certificates.new_key()))
    assert store.settled() == live is not None
    assert {path.name for path in state.iterdir()} == {"device.key", "certificate.pem"}


@pytest.mark.parametrize("damage", [b"", b"garbage"])
@pytest.mark.parametrize("name", ["device.key", "certificate.pem"])
def test_a_damaged_identity_counts_as_absent(
    store: Store, state: Path, key: bytes, name: str, damage: bytes
) -> None:
    """A device with a damaged key or certificate has no identity, and so enrolls again."""
    store.keep_next_key(key)
    store.keep_next(key, chain(key))
    store.promote()
    (state / name).write_bytes(damage)
    assert store.live() is None


@pytest.mark.parametrize("damage", [b"", b"garbage", factories.key_pem(factories.rsa_key()).encode()])
def test_a_damaged_key_counts_as_absent(store: Store, state: Path, damage: bytes) -> None:
    """A damaged or unsuitable next key counts as absent, so that the device makes a new one."""
    (state / "next.private").write_bytes(damage)
    assert store.next_key() is None
