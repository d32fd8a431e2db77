"""The rate limiter of AWS IoT's control plane, with strict priority.

Its whole state is one instant: the time of the next free slot. Slots are `interval(rate)` apart. A worker
takes the next slot, which moves the instant, and waits until its slot has come.

Lower priorities may take a slot only if few slots are taken ahead of now. As long as workers of a higher
priority wait in slots of their own, more than that are taken, so the lower ones get none. What the higher
ones leave goes to the lower ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Priority(StrEnum):
    """The importance of calls to AWS IoT's control plane, the highest first. Messages hold the values."""

    REVOCATION = "revocation"  # takes rights: a revoked or deleted device
    CHANGE = "change"  # brings a changed record or a changed fleet to AWS IoT
    CERTIFICATE = "certificate"  # registers an issued certificate
    JITR = "jitr"  # decides on a bootstrap certificate that AWS IoT registered by itself


AHEAD: dict[Priority, int | None] = {
    Priority.REVOCATION: None,
    Priority.CHANGE: 4,
    Priority.CERTIFICATE: 2,
    Priority.JITR: 0,
}
"""How many slots may be taken ahead of now for a priority to take one more. None is any number."""


@dataclass(frozen=True)
class Slot:
    """The answer to a worker that wants a slot: its slot, or when it may ask again (`taken` is False)."""

    at: datetime
    taken: bool


def interval(rate: float, share: float = 1) -> timedelta:
    """Return the time between two slots if there are `rate` slots a second.

    `share` is the part of a slot that is taken, in whole milliseconds.
    """
    return timedelta(milliseconds=math.ceil(1_000 * share / rate))


def ahead(priority: Priority, rate: float) -> timedelta | None:
    """Return how far ahead of now the next free slot may be for a priority; None is any time."""
    slots = AHEAD[priority]
    return None if slots is None else slots * interval(rate)
