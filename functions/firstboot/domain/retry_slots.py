"""Retry slots: the times at which refused callers come again, one after the other.

A lane is the queue of those that one limit refuses. It has as many slots a minute as the limit allows
requests, so callers that keep to their slots are not refused again. Slot `i` of a lane is the instant
`i / per_minute` minutes after the epoch. So the whole state of a lane is one number, the next free slot.

A process takes several slots at once, a block, and hands them out from its memory. So most refusals need no
call, and no two processes hand out the same slot. What is left of a block when its time comes is lost.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from firstboot.domain.clock import EPOCH

LONGEST_SECONDS = 3_600
"""The longest time that a refused caller is told to wait. A device that waits for hours would not notice that
an operator has raised the limit, and one holder of a certificate cannot fill a lane any further ahead."""

LONGEST_SPREAD = 600
"""The seconds over which callers come again that found no free slot within LONGEST_SECONDS."""

_SMALL_BLOCK, _LARGE_BLOCK = 8, 64
_BLOCK_SECONDS = 10

_MINUTE = 60_000_000
"""Microseconds of a minute. A timedelta could not hold their product with a rate."""


@dataclass(frozen=True)
class Lane:
    """The queue of the callers that one limit refuses, with `per_minute` slots a minute.

    `longest` is how far ahead a slot may be; None is any time.
    """

    name: str
    per_minute: int
    longest: timedelta | None = timedelta(seconds=LONGEST_SECONDS)

    def first(self, moment: datetime) -> int:
        """Return the first slot at or after `moment`."""
        microseconds = (moment - EPOCH) // timedelta(microseconds=1)
        return -(-microseconds * self.per_minute // _MINUTE)

    def last(self, now: datetime) -> int | None:
        """Return the last slot that may be taken at `now`, or None if any may."""
        return None if self.longest is None else self.first(now + self.longest)

    def instant(self, slot: int) -> datetime:
        """Return the time of a slot, rounded up to a microsecond."""
        return EPOCH + timedelta(microseconds=-(-slot * _MINUTE // self.per_minute))

    def block(self, used: int) -> int:
        """Return how many slots a process takes at once that has handed out `used` of this lane.

        Blocks grow with what the process needs, so that few slots are lost: to 8 at first, then to a
        sixteenth of what it handed out, at most 64. A block covers ten seconds at most.
        """
        wanted = max(min(used + 1, _SMALL_BLOCK), used // 16)
        return max(1, min(wanted, _LARGE_BLOCK, self.per_minute * _BLOCK_SECONDS // 60))


def seconds_until(moment: datetime, now: datetime) -> int:
    """Return the whole seconds to wait until `moment`, rounded up, at least 1."""
    return max(1, -(-(moment - now) // timedelta(seconds=1)))


def without_slot(caller: str) -> int:
    """Return the seconds to wait for a caller that found no free slot within LONGEST_SECONDS.

    The caller's identity spreads such callers over the last minutes of that time, without a random source.
    """
    return LONGEST_SECONDS - zlib.crc32(caller.encode()) % LONGEST_SPREAD


def first_taken(stored: int | None, opens: int, most: int | None) -> int | None:
    """Return the first slot that a process takes; None if it is later than slot `most`.

    `stored` is the lane's next free slot; None for a lane that was never used. No slot is before `opens`. The
    table decides the same by conditions (aws/dynamodb/retry_slots.py).
    """
    first = opens if stored is None else max(opens, stored)
    return None if most is not None and first > most else first
