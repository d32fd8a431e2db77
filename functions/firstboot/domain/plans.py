"""The plans of a group: the lifetime of its certificates, and the budget of its enrollments."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from firstboot.domain.claim import Limits
from firstboot.domain.clock import epoch, from_epoch

_LAST = datetime.max.replace(tzinfo=UTC)


def end_of_day(day: date) -> datetime:
    """Return the instant at which `day` is over in UTC.

    9999-12-31 ends a microsecond early, because no datetime holds the year 10000.
    """
    return _LAST if day == date.max else datetime.combine(day + timedelta(days=1), time(), UTC)


@dataclass(frozen=True)
class Budget:
    """A limit on a group's enrollments.

    The group may enroll `total` devices in all and `per_minute` in one minute. More than `freeze_per_hour` in
    one hour freeze it. From `until` on, which is the end of a day in UTC, it enrolls no device.
    """

    total: int
    per_minute: int
    until: datetime
    freeze_per_hour: int | None = None

    @property
    def limits(self) -> Limits:
        """Return the limits that are enforced by counting."""
        return Limits(self.total, self.per_minute, self.freeze_per_hour)

    def to_plain(self) -> dict[str, Any]:
        """Return the budget as JSON's types; `until` is in epoch seconds."""
        # `end_of_day` returns the end of 9999-12-31 a microsecond early; the JSON holds the full second.
        return asdict(self) | {"until": epoch(self.until) + 1 if self.until == _LAST else epoch(self.until)}

    @classmethod
    def from_plain(cls, raw: dict[str, Any]) -> Budget:
        """Return the budget that `to_plain` wrote."""
        seconds = raw["until"]
        return cls(**raw | {"until": _LAST if seconds == epoch(_LAST) + 1 else from_epoch(seconds)})


@dataclass(frozen=True)
class CertificatePlan:
    """The lifetime of a group's operational certificates.

    `renew_at` is the fraction of the lifetime after which a device may renew.
    """

    days: int
    renew_at: float
    grace_days: int

    @property
    def lifetime(self) -> timedelta:
        """Return how long a certificate is valid, unless its CA ends earlier."""
        return timedelta(days=self.days)

    @property
    def grace(self) -> timedelta:
        """Return how long after its end, or after it was superseded, a certificate can still renew."""
        return timedelta(days=self.grace_days)
