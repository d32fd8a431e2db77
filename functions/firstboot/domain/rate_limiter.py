"""Keeping below a quota: a token bucket, as the time at which the next one is due (GCRA). Pure.

Everyone who comes takes the next slot, and slots are the quota's interval apart. Whoever's slot is
far away comes back then: nobody sleeps, nobody asks twice, and the backlog is known to the second.
Slots and `now` are in epoch milliseconds.
"""

from __future__ import annotations

import math

TOLERANCE = 1_000
"""Milliseconds that a slot may be ahead and still be used now: the bucket's burst."""

LONGEST_DELAY = 900
"""Seconds that SQS keeps a message back at most (SQS API reference, SendMessage, DelaySeconds)."""


def interval(rate: float) -> int:
    """Milliseconds between two slots, at `rate` slots a second."""
    return math.ceil(1_000 / rate)


def backlog(slot: int, now: int) -> int:
    """Seconds until whoever has `slot` is served; 0 if that is at once."""
    return math.ceil((slot - now) / 1_000) if slot - now > TOLERANCE else 0


def delay(slot: int, now: int) -> int:
    """Seconds to keep a message with `slot` back; 0 if it may go on. It may come back too early, and
    is then kept back again.
    """
    return min(LONGEST_DELAY, backlog(slot, now))
