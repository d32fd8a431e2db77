"""Repeat a call while the service asks for it, within limits, and spread the first calls of many devices."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from .refusal import Action, Refused

Result = TypeVar("Result")

# Boards of one image have the same process ids and the same clock, or none, when they get power together. The
# operating system's source is seeded before it answers (getrandom(2)).
jitter = random.SystemRandom().random


def _unreported(_refusal: Refused, _seconds: float) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class BackOff:
    """The number of tries of a call, and the bounds of the pauses between them in seconds.

    Without a time from the service a pause is random, below a bound that grows from `base` by `factor` to
    `cap` (full jitter: AWS Architecture Blog, "Exponential Backoff And Jitter"). A pause that the service
    names is kept if it is `longest` or less.
    """

    tries: int = 6
    base: float = 1.0
    factor: float = 2.0
    cap: float = 60.0
    longest: float = 300.0

    def bound(self, earlier: int) -> float:
        """Return the bound of the pause after `earlier` other pauses."""
        return min(self.cap, self.base * self.factor**earlier)


OVERLOAD = BackOff(tries=24, base=240.0, factor=4.0, cap=960.0, longest=3_900.0)
"""The back-off after a refusal of too many requests. The service names slots of up to an hour.

A 429 without a time comes from the gateway, which admits a few times the service's rate. The bounds are the
shortest with which a million devices of one moment need few requests (docs/storm.md).
"""


@dataclass(frozen=True)
class Patience(BackOff):
    """A policy of how often a call is made, and how long the pauses between are.

    Refusals of too many requests have a back-off of their own, `overload`, and are counted on their own.
    Without one they are like all others. `report` gets each refusal after which the call is repeated, and
    the pause before that.
    """

    overload: BackOff | None = None
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = jitter
    report: Callable[[Refused, float], None] = _unreported

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Return the result of `call`, which is repeated while it is refused with `retry` or `wait`.

        Raises the last Refused if its action is another one, if no tries are left, or if the service asks to
        wait for too long or for an unknown time.
        """
        earlier = {False: 0, True: 0}
        while True:
            try:
                return call()
            except Refused as refusal:
                pause = self.pause(refusal, earlier[refusal.overloaded])
                if pause is None:
                    raise
                self.report(refusal, pause)
                earlier[refusal.overloaded] += 1
            self.sleep(pause)

    def pause(self, refusal: Refused, earlier: int) -> float | None:
        """Return the pause after a refusal, or None if the call is not repeated.

        `earlier` is the number of earlier refusals of the same call that were overloaded as this one is.
        """
        back_off = (refusal.overloaded and self.overload) or self
        after = refusal.retry_after
        if earlier + 1 >= back_off.tries or refusal.action not in (Action.RETRY, Action.WAIT):
            return None
        if after is not None:
            # The service gives each device its own time, so a second of jitter suffices.
            return after + self.jitter() * min(1.0, after) if after <= back_off.longest else None
        return self.jitter() * back_off.bound(earlier) if refusal.action is Action.RETRY else None


HTTPS = Patience(overload=OVERLOAD)
"""The patience of boot and renew over HTTPS. firstboot.sh has the same numbers."""

# The broker gives no reason. It may be its limit of connections, so the bounds grow on.
MQTT = Patience(tries=10, cap=960.0, overload=OVERLOAD)
"""The patience of boot and renew over MQTT."""
