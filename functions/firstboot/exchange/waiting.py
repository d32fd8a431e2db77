"""Refuse enrollments early while a limit is reached, and give each refused device its retry slot.

There are two limits: what a group enrolls in a minute, and what AWS signs and stores in a second. A process
that has met one refuses the next enrollments without a call until the minute or the second ends. While a
group's minute is full, one request a second passes, so that without a storm a repeat is answered at once. A
renewal is never refused here, and takes no slot from enrollments.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from firstboot.domain.claim import Enrollment
from firstboot.domain.clock import epoch, from_epoch, until_next
from firstboot.domain.errors import FirstbootError, Unavailable
from firstboot.domain.fleet import Group
from firstboot.domain.lanes import THROTTLED, Lanes
from firstboot.domain.names import first_name
from firstboot.domain.retry_slots import Lane
from firstboot.exchange.errors import EnrollmentRateExceeded

_MINUTE = timedelta(minutes=1)
THROTTLED_METRIC = "EnrollmentThrottled"


def issuing(per_second: int) -> Lane:
    """Return the lane of enrollments that AWS throttles, of which KMS signs `per_second`."""
    return Lane("issuing", per_second * 60)


@dataclass(frozen=True)
class Waiting:
    """The limits of enrollments. `issuing` is the lane of those that AWS throttles."""

    lanes: Lanes
    issuing: Lane

    def is_needless(self, now: datetime) -> bool:
        """Return whether no limit is known to be reached, so that `refuse` would refuse no enrollment."""
        return self.lanes.all_open(now)

    def check(self, group: Group, identifier: str, said: str | None, now: datetime) -> None:
        """Refuse an enrollment as `refuse` does, or let it pass."""
        self.refuse(group, identifier, said, now)
        if lane := _lane(group):
            self.lanes.passed(lane, now)

    def refuse(self, group: Group, identifier: str, said: str | None, now: datetime) -> None:
        """Refuse an enrollment if a limit is known to be reached.

        `identifier` is that of the evidence by which `group` admits the device, which the caller has
        verified. `said` is the device id in the request. Raises EnrollmentRateExceeded, Unavailable.
        """
        caller = _caller(identifier, said if group.is_shared else None)
        lane = _lane(group)
        refusal: FirstbootError | None = None
        if lane and self.lanes.is_closed(lane, now, probes=True):
            refusal = self._too_many(lane, caller, now)
        elif self.lanes.is_closed(self.issuing, now, probes=False):
            refusal = self._throttled(caller, "AWS throttled an enrollment in this second", now)
        if refusal:
            refusal.is_early = True
            raise refusal

    def too_many(self, asked: Enrollment) -> EnrollmentRateExceeded:
        """Return the refusal of an enrollment for which the group's minute has no room in any shard."""
        per_minute = asked.limits.per_minute if asked.limits else 1
        lane = _of_group(asked.counted_as, per_minute)
        self.lanes.close(lane, from_epoch(epoch(asked.now) + until_next(_MINUTE, asked.now)))
        return self._too_many(lane, _caller_of(asked), asked.now)

    def unavailable(self, error: Unavailable, asked: Enrollment) -> Unavailable:
        """Return the refusal of an enrollment of which nothing is recorded after a call that failed."""
        if not error.is_throttled:
            return error
        self.lanes.close(self.issuing, asked.now + THROTTLED)
        return self._throttled(_caller_of(asked), error.log, asked.now)

    def _too_many(self, lane: Lane, caller: str, now: datetime) -> EnrollmentRateExceeded:
        slot = self.lanes.wait(lane, caller, now)
        return EnrollmentRateExceeded(retry_after=until_next(_MINUTE, now), slot=slot)

    def _throttled(self, caller: str, log: str, now: datetime) -> Unavailable:
        slot = self.lanes.wait(self.issuing, caller, now)
        return Unavailable(log=log, slot=slot, metric=THROTTLED_METRIC)


def _of_group(counted_as: str, per_minute: int) -> Lane:
    return Lane(f"group#{counted_as}", per_minute)


def _lane(group: Group) -> Lane | None:
    counted_as = first_name(group.name, group.formerly)
    return _of_group(counted_as, group.budget.limits.per_minute) if group.budget else None


def _caller_of(asked: Enrollment) -> str:
    return _caller(asked.enrolled_by, asked.device_id if asked.expected else None)


def _caller(identifier: str, device_id: str | None) -> str:
    """Return who a slot is for: the bootstrap certificate, with the device id where devices share it."""
    return identifier if device_id is None else f"{identifier} {device_id}"
