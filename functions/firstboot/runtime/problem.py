"""Domain errors as problem+json (RFC 9457), and the waiting times that answers name."""

from __future__ import annotations

import zlib
from datetime import datetime

from firstboot.domain.clock import iso
from firstboot.domain.errors import Action, FirstbootError
from firstboot.identity.errors import ProofStale
from firstboot.runtime.messages import Json

RETRY_SECONDS = 5
"""The shortest time a device waits before it tries again; up to as much again is added by `spread`."""


def spread(seconds: int, seed: str) -> int:
    """Return `seconds` plus up to as many again, at most a minute, chosen by `seed`.

    Devices that are told to wait at the same time must not all come back at the same time.
    """
    return seconds + zlib.crc32(seed.encode()) % (min(seconds, 60) + 1)


def retry_in(device_id: str, seconds: int, *, ready: bool) -> int:
    """Return after how many seconds the device asks again whether AWS IoT knows its certificate."""
    return 0 if ready else spread(seconds, device_id)


def problem(error: FirstbootError, request_id: str, now: datetime) -> Json:
    """Return the members of the problem that a domain error becomes; docs/protocol.md lists the codes."""
    members: Json = {
        "type": f"urn:firstboot:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "requestId": request_id,
        "action": error.action.value,
    }
    if error.action in (Action.RETRY, Action.WAIT):
        members["retryAfter"] = spread(error.retry_after or RETRY_SECONDS, request_id)
    if isinstance(error, ProofStale):
        members["nonce"] = error.nonce
    return members | {"time": iso(now)}
