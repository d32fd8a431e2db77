"""The outcome of a claim: the conditional write that records the intent to certify a key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from firstboot.domain.device import Device


class RefusedBy(StrEnum):
    """The condition that did not hold when a claim was refused."""

    DEVICE = "device"
    KEY = "key"
    FROZEN = "frozen"
    TOTAL = "total"
    THRESHOLD = "threshold"
    RATE = "rate"
    DAY = "day"


@dataclass(frozen=True)
class ClaimRefused:
    """A claim that was refused, so that nothing was written.

    `device` is the stored record if the condition on that record failed (`RefusedBy.DEVICE`), else None.
    """

    by: RefusedBy
    device: Device | None = None


@dataclass(frozen=True)
class Spent:
    """The part of a group's budget that is used up.

    `total` is what counts against the budget's `total`. `frozen_at` is None for a group that is not frozen.
    """

    total: int
    frozen_at: datetime | None
