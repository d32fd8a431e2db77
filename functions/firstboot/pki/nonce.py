"""Nonces for devices without a clock (RFC 9449 section 8). Pure.

A nonce is its own time and a MAC over it: nobody keeps a list of them. It may be used for several
proofs; each proof's `jti` is what may be used once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

KEY_BYTES = 32
SECONDS = 300
"""How long a nonce is good."""

_TIME = 8
_MAC = 16


def make(key: bytes, now: int) -> str:
    """A nonce of the time `now` (epoch seconds): 32 characters of base64url."""
    moment = now.to_bytes(_TIME, "big")
    return base64.urlsafe_b64encode(moment + _mac(key, moment)).decode()


def made_at(nonce: str) -> int | None:
    """The time (epoch seconds) that `nonce` says it was made at; None if it is none of ours."""
    raw = _decoded(nonce)
    return None if raw is None else int.from_bytes(raw[:_TIME], "big")


def is_good(nonce: str, key: bytes, now: int) -> bool:
    """Whether `key` made `nonce`, and at most SECONDS ago."""
    raw = _decoded(nonce)
    if raw is None or not hmac.compare_digest(raw[_TIME:], _mac(key, raw[:_TIME])):
        return False
    return 0 <= now - int.from_bytes(raw[:_TIME], "big") <= SECONDS


def _decoded(nonce: str) -> bytes | None:
    try:
        raw = base64.b64decode(nonce, altchars=b"-_", validate=True)
    except ValueError:
        return None
    return raw if len(raw) == _TIME + _MAC else None


def _mac(key: bytes, moment: bytes) -> bytes:
    return hmac.digest(key, moment, hashlib.sha256)[:_MAC]
