"""Domain errors as problem+json (RFC 9457), and the waiting times in answers."""

from __future__ import annotations

import json
import zlib
from datetime import datetime
from typing import Annotated, Protocol

from msgspec import UNSET, Meta, UnsetType

from firstboot.domain.clock import iso
from firstboot.domain.errors import Action, FirstbootError, Reason
from firstboot.identity.errors import ProofStale
from firstboot.runtime.messages import Answer, Json, members

RETRY_SECONDS = 5
"""The shortest time that a device is told to wait; `spread` adds up to as many seconds again."""


def spread(seconds: int, seed: str) -> int:
    """Return `seconds` plus up to as many again, but at most 60, chosen by `seed`.

    Devices that are told to wait at the same time must not all come back at the same time. The seed, a
    request id or a device id, replaces a random source, so that this function stays pure.
    """
    return seconds + zlib.crc32(seed.encode()) % (min(seconds, 60) + 1)


_LONGEST_DETAIL = 2_048
"""Characters of a detail in JSON. It may quote names, and an answer has at most 4,096 bytes."""


class Backlog(Protocol):
    """The rate limiter of AWS IoT's control plane."""

    def backlog_seconds(self, now: datetime) -> int:
        """Return the seconds until AWS IoT is reconciled for a device that is ordered at `now`."""


def retry_in(device_id: str, limiter: Backlog, now: datetime, *, ready: bool) -> int:
    """Return the seconds after which the device asks again whether AWS IoT knows its certificate.

    The result is 0 if AWS IoT knows it (`ready`); the limiter is not called then.
    """
    return 0 if ready else spread(RETRY_SECONDS + limiter.backlog_seconds(now), device_id)


class Problem(Answer, frozen=True, kw_only=True):
    """The members of a refusal in problem+json (RFC 9457)."""

    type: Annotated[str, Meta(description="`urn:firstboot:problem:` and the code")]
    title: Annotated[str, Meta(description="A short description of the code")]
    status: Annotated[int, Meta(description="The HTTP status")]
    detail: Annotated[str, Meta(description="What is wrong with this request")]
    code: Annotated[str, Meta(description="What is wrong, for programs")]
    reason: (
        Annotated[
            Reason,
            Meta(description="The cause of `code`, if it is about a certificate or a CSR"),
        ]
        | UnsetType
    ) = UNSET
    request_id: Annotated[str, Meta(description="The id of the request in the operator's log")]
    action: Annotated[
        Action,
        Meta(
            description="What the device does: `retry` the same request with back-off; `wait` for"
            " `retryAfter` seconds, then send the same request; `stop`, since a person must act;"
            " `reenroll` with the bootstrap certificate"
        ),
    ]
    retry_after: (
        Annotated[
            int, Meta(description="With `retry` and `wait`: seconds, in a storm until the device's slot")
        ]
        | UnsetType
    ) = UNSET
    nonce: Annotated[str, Meta(description="With `proof-stale`: for the next proof")] | UnsetType = UNSET


def problem(error: FirstbootError, request_id: str, now: datetime) -> Json:
    """Return a domain error as the members of a problem. docs/protocol.md lists the codes."""
    waits = error.action in (Action.RETRY, Action.WAIT)
    made = Problem(
        type=f"urn:firstboot:problem:{error.code}",
        title=error.title,
        status=error.status,
        detail=_bounded(error.detail),
        code=error.code,
        reason=error.reason or UNSET,
        request_id=request_id,
        action=error.action,
        retry_after=waiting_time(error, request_id) if waits else UNSET,
        nonce=error.nonce if isinstance(error, ProofStale) else UNSET,
    )
    return members(made) | {"time": iso(now)}


def waiting_time(error: FirstbootError, seed: str) -> int:
    """Return the seconds after which the caller comes again: its retry slot, or a time spread by `seed`."""
    return error.slot or spread(error.retry_after or RETRY_SECONDS, seed)


def _bounded(detail: str) -> str:
    # In ASCII JSON a character has up to twelve, so most details need no count.
    while len(detail) * 12 + 2 > _LONGEST_DETAIL and len(json.dumps(detail)) > _LONGEST_DETAIL:
        detail = detail[: len(detail) * 3 // 4]
    return detail
