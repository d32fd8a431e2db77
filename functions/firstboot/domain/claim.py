"""The outcome of a claim: the conditional write that records the intent to certify a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from firstboot.domain.device import Device


class RefusedBy(StrEnum):
    """Which condition of a claim did not hold."""

    DEVICE = "device"
    KEY = "key"
    FROZEN = "frozen"
    TOTAL = "total"
    THRESHOLD = "threshold"
    RATE = "rate"
    DAY = "day"


@dataclass(frozen=True)
class ClaimRefused:
    """The claim wrote nothing. `device` is the row as it is, where its own condition failed."""

    by: RefusedBy
    device: Device | None = None


@dataclass(frozen=True)
class Spent:
    """How much of a group's budget is used up. `frozen_at` is None for a group that is not frozen."""

    total: int
    frozen_at: datetime | None
