"""The outcome of a claim, the conditional write that reserves a certificate before it is signed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from firstboot.domain.device import Device


class RefusedBy(StrEnum):
    """The condition that did not hold when a claim was refused."""

    DEVICE = "device"  # the condition on the device record
    KEY = "key"  # the key belongs to no other device
    FROZEN = "frozen"  # the group is not frozen
    TOTAL = "total"  # fewer enrollments than the budget's `total`
    THRESHOLD = "threshold"  # fewer than `freeze_per_hour` enrollments in this hour
    RATE = "rate"  # fewer than `per_minute` enrollments in this minute
    DAY = "day"  # fewer than `per_day` enrollments of this device today


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
