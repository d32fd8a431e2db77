"""The lanes as one process knows them: the limits that are reached, and retry slots that it may hand out.

Most refusals are decided here without a call, so that a storm of requests costs little. An object of Lanes is
made once for a process and is never shared between processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from firstboot.domain.bounded import Bounded
from firstboot.domain.clock import EPOCH
from firstboot.domain.errors import Unavailable
from firstboot.domain.retry_slots import Lane, seconds_until, without_slot

LANES = 64
CALLERS = 4_096
"""How many lanes, and how many callers with a slot, a process remembers at most."""

THROTTLED = timedelta(seconds=2)
"""How long a throttled process refuses requests, from the second in which its request came. AWS counts its
quotas by the second, and botocore tries a throttled call twice, which takes up to a second."""

_PROBE = timedelta(seconds=1)
"""How often a closed lane lets one request pass. So, without a storm, a repeat is answered at once."""

_NO_SLOT = timedelta(seconds=5)
"""How long a process asks for no further slot after it got none, because the lane was full or the table did
not answer."""


class RetrySlots(Protocol):
    """The lanes' next free slots, which all processes share."""

    def take(self, lane: Lane, count: int, opens: datetime, now: datetime) -> int | None:
        """Take `count` slots of the lane that follow each other, none before `opens`; return the first.

        Return None if the next free slot is further ahead of `now` than the lane allows. Raises Unavailable.
        """


class NoSlots:
    """The port RetrySlots for a protocol that has no place for a time in its refusals."""

    def take(self, lane: Lane, count: int, opens: datetime, now: datetime) -> int | None:  # noqa: ARG002 - the port's
        """Return None: there is no slot."""
        return None


@dataclass
class _Known:
    """A lane as the process knows it. `following` and `end` are the rest of its block of slots."""

    closed_until: datetime = EPOCH
    probe_at: datetime = EPOCH
    following: int = 0
    end: int = 0
    used: int = 0
    asks_again: datetime = EPOCH
    is_full: bool = False


class Lanes:
    """The lanes of one process. Each caller passes the time, and the object reads no clock."""

    def __init__(self, slots: RetrySlots) -> None:
        self._slots = slots
        self._known: Bounded[Lane, _Known] = Bounded(LANES)
        self._closed_until = EPOCH
        self._handed: Bounded[tuple[str, str], datetime] = Bounded(CALLERS)

    def close(self, lane: Lane, until: datetime) -> None:
        """Remember that the lane's limit is reached until a moment."""
        known = self._of(lane)
        known.closed_until = max(known.closed_until, until)
        self._closed_until = max(self._closed_until, until)

    def all_open(self, now: datetime) -> bool:
        """Return whether no lane's limit is known to be reached."""
        return now >= self._closed_until

    def is_closed(self, lane: Lane, now: datetime, *, probes: bool) -> bool:
        """Return whether the lane's limit is known to be reached.

        With `probes`, one request a second may pass, and `passed` says that it does.
        """
        known = self._known.get(lane)
        if known is None or now >= known.closed_until:
            return False
        return not probes or now < known.probe_at

    def passed(self, lane: Lane, now: datetime) -> None:
        """Remember that a request passes the lane: while it is closed, the next one may a second later."""
        known = self._known.get(lane)
        if known and now < known.closed_until:
            known.probe_at = now + _PROBE

    def wait(self, lane: Lane, caller: str, now: datetime) -> int | None:
        """Return the seconds until the caller's slot; None if the table gives out no slots.

        `caller` identifies the caller. While its slot is ahead it gets the same slot again, so that a caller
        that asks often takes no slots from others. A slot is never in the time in which the lane is closed.
        """
        known, of_caller = self._of(lane), (lane.name, caller)
        opens = max(now, known.closed_until)
        handed = self._handed.get(of_caller)
        if handed is None or handed < opens or handed <= now:
            slot = self._next(lane, known, opens, now)
            if slot is None:
                return without_slot(caller) if known.is_full else None
            handed = lane.instant(slot)
            self._handed.put(of_caller, handed)
        return seconds_until(handed, now)

    def _next(self, lane: Lane, known: _Known, opens: datetime, now: datetime) -> int | None:
        """Return the next slot of this process's block, or of a new one; None if there is none."""
        first = lane.first(opens)
        if known.following < first:
            # The block is of an earlier storm if it ended more than a minute ago.
            known.used = known.used if first - known.end <= lane.per_minute else 0
            known.following = first
        if known.following >= known.end and not self._has_block(lane, known, opens, now):
            return None
        known.following, known.used = known.following + 1, known.used + 1
        return known.following - 1

    def _has_block(self, lane: Lane, known: _Known, opens: datetime, now: datetime) -> bool:
        """Take a new block; return whether there is one."""
        if now < known.asks_again:
            return False
        count = lane.block(known.used)
        try:
            first = self._slots.take(lane, count, opens, now)
        except Unavailable:
            # The refusal stays what it is: without a slot the caller gets a time that is spread.
            known.is_full, known.asks_again = False, now + _NO_SLOT
            return False
        if first is None:
            known.is_full, known.asks_again = True, now + _NO_SLOT
            return False
        known.following, known.end = first, first + count
        return True

    def _of(self, lane: Lane) -> _Known:
        known = self._known.get(lane)
        if known is None:
            known = _Known()
            self._known.put(lane, known)
        return known
