"""Nonces for devices without a clock (RFC 9449 section 8).

A nonce holds the time at which it was made and a MAC over that time. So no list of nonces is kept, and every
process that has the key recognises a nonce that another process made. A nonce may be used for several proofs;
the `jti` of each proof may be used once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime, timedelta

from firstboot.domain.clock import SKEW, epoch, from_epoch, whole_seconds

KEY_BYTES = 32
LIFETIME = timedelta(minutes=5)
"""How long after it was made a nonce is accepted."""

_TIME = 8  # Bytes of the time. With the MAC they make 24, which base64 encodes without padding.
_MAC = 16  # Bytes of the MAC: an attacker has to guess 128 bits.


def make(key: bytes, now: datetime) -> str:
    """Return a nonce that holds `now` in whole seconds: 32 characters of base64url."""
    made = epoch(now).to_bytes(_TIME, "big")
    return base64.urlsafe_b64encode(made + _mac(key, made)).decode()


def made_at(nonce: str) -> datetime | None:
    """Return the time that `nonce` holds, without checking its MAC; None if it cannot be a nonce."""
    raw = _decoded(nonce)
    try:
        return None if raw is None else from_epoch(int.from_bytes(raw[:_TIME], "big"))
    except ValueError:
        return None


def is_good(nonce: str, key: bytes, now: datetime) -> bool:
    """Return whether `nonce` was made with `key`, and at most LIFETIME before `now` (in whole seconds).

    The process that made it may have a clock that is ahead of this one's, by SKEW at most.
    """
    raw, moment = _decoded(nonce), made_at(nonce)
    if raw is None or moment is None or not hmac.compare_digest(raw[_TIME:], _mac(key, raw[:_TIME])):
        return False
    return -SKEW <= whole_seconds(now) - moment <= LIFETIME


def _decoded(nonce: str) -> bytes | None:
    try:
        raw = base64.b64decode(nonce, altchars=b"-_", validate=True)
    except ValueError:
        return None
    return raw if len(raw) == _TIME + _MAC else None


def _mac(key: bytes, made: bytes) -> bytes:
    return hmac.digest(key, made, hashlib.sha256)[:_MAC]
