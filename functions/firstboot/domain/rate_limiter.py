"""The rate limiter: a token bucket, kept as the time of its next slot (GCRA). Pure.

Each message takes the next slot; slots are `interval(rate)` apart, in whole milliseconds. A message whose
slot is later is sent again with a delay, so no process sleeps, and the next slot is the whole backlog.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

TOLERANCE = timedelta(seconds=1)
"""How far ahead a slot may be and still be used now: the bucket's burst."""

LONGEST_DELAY_SECONDS = 900
"""How long SQS keeps a message back at most (SQS API reference, SendMessage, DelaySeconds)."""


def interval(rate: float) -> timedelta:
    """Return the time between two slots, at `rate` slots a second."""
    return timedelta(milliseconds=math.ceil(1_000 / rate))


def backlog_seconds(slot: datetime, now: datetime) -> int:
    """Return the whole seconds until `slot`, rounded up; 0 if it may be used now."""
    ahead = slot - now
    return math.ceil(ahead.total_seconds()) if ahead > TOLERANCE else 0


def delay_seconds(slot: datetime, now: datetime) -> int:
    """Return the seconds to keep a message with `slot` back; 0 if it may go on. A message whose slot is
    further away than SQS can wait comes back too early, and is then kept back again.
    """
    return min(LONGEST_DELAY_SECONDS, backlog_seconds(slot, now))
