"""The rate limiter: a token bucket (GCRA) whose only state is the time of its next slot.

Each message takes the next slot; slots are `interval(rate)` apart, in whole milliseconds. A message whose
slot is in the future is sent again with a delay. So no Lambda sleeps in billed time, a waiting message uses
up none of its tries, and the time until the next slot is the whole backlog.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta

TOLERANCE = timedelta(seconds=1)
"""How far in the future a slot may be and still be used now. It is the burst of the bucket."""

LONGEST_DELAY_SECONDS = 900
"""The longest delay that SQS accepts (SQS API reference, SendMessage, DelaySeconds)."""


def interval(rate: float) -> timedelta:
    """Return the time between two slots if there are `rate` slots a second."""
    return timedelta(milliseconds=math.ceil(1_000 / rate))


def backlog_seconds(slot: datetime, now: datetime) -> int:
    """Return the whole seconds until `slot`, rounded up; 0 if it may be used now."""
    ahead = slot - now
    return math.ceil(ahead.total_seconds()) if ahead > TOLERANCE else 0


def delay_seconds(slot: datetime, now: datetime) -> int:
    """Return the seconds by which a message with `slot` is delayed; 0 if it may be handled now."""
    # A slot further away than SQS can delay brings the message back early, and it is delayed again.
    return min(LONGEST_DELAY_SECONDS, backlog_seconds(slot, now))
