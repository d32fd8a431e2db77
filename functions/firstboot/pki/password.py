"""One-time passwords, by which an operator admits one device to a group for an hour.

A password holds its end, random bytes, the group's name and a MAC over them and the device's id. So no list
of passwords is kept, and each process that has the key recognises what another process made. The caller of
this module records the use.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass
from datetime import datetime, timedelta

from firstboot.domain.clock import epoch, from_epoch

KEY_BYTES = 32
LIFETIME = timedelta(hours=1)
"""How long after it was made a password is accepted."""

_TIME, _RANDOM, _MAC = 8, 16, 32  # Bytes of the parts before the group's name.
_PURPOSE = b"firstboot one-time password 1"
_GROUP = 64
"""Characters of a group's name (compiler/group_keys.py)."""

MAX_LENGTH = (_TIME + _RANDOM + _MAC + _GROUP) * 4 // 3
"""Characters of a password."""


@dataclass(frozen=True)
class Password:
    """A password that was made with our key for a device of `group`. `digest` is its SHA-256 (hex)."""

    group: str
    expires_at: datetime
    digest: str


def make(key: bytes, device_id: str, group: str, now: datetime) -> tuple[str, datetime]:
    """Return a password that admits the device to the group, in base64url, and its end.

    Raises ValueError for a group's name that is not in ASCII or too long.
    """
    name = group.encode("ascii")
    if not 1 <= len(name) <= _GROUP:
        raise ValueError(f"a group's name has 1 to {_GROUP} characters")
    expires_at = from_epoch(epoch(now + LIFETIME))
    head = epoch(expires_at).to_bytes(_TIME, "big") + os.urandom(_RANDOM)
    raw = head + _mac(key, head, name, device_id) + name
    return base64.urlsafe_b64encode(raw).decode().rstrip("="), expires_at


def read(text: str, device_id: str, key: bytes) -> Password | None:
    """Return a password that was made with `key` for this device; None for any other text.

    The caller checks that it has not expired.
    """
    raw = _decoded(text)
    if raw is None:
        return None
    head, mac, name = raw[: _TIME + _RANDOM], raw[_TIME + _RANDOM :][:_MAC], raw[_TIME + _RANDOM + _MAC :]
    if not hmac.compare_digest(mac, _mac(key, head, name, device_id)):
        return None
    # The MAC covers these bytes, so they are what `make` wrote.
    expires_at = from_epoch(int.from_bytes(head[:_TIME], "big"))
    return Password(name.decode("ascii"), expires_at, hashlib.sha256(raw).hexdigest())


def _decoded(text: str) -> bytes | None:
    if len(text) > MAX_LENGTH:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    return raw if len(raw) > _TIME + _RANDOM + _MAC else None


def _mac(key: bytes, head: bytes, group: bytes, device_id: str) -> bytes:
    # Neither a group's name nor a device's id has a zero byte, so the parts can't be split in another way.
    said = b"\0".join((_PURPOSE, head, group, device_id.encode("utf-8", "surrogatepass")))
    return hmac.digest(key, said, hashlib.sha256)
