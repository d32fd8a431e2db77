"""Repeat a call while the service asks for it, within limits."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from .refusal import Action, Refused

Result = TypeVar("Result")


def _unreported(_refusal: Refused, _seconds: float) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Patience:
    """A policy of how often a call is made, and how long the pauses between are, in seconds.

    The pauses double from `base` to `cap` with full jitter (AWS Architecture Blog, "Exponential Backoff And
    Jitter"), so that devices that lost power together do not call again together. `report` gets each refusal
    after which the call is repeated, and the pause before that.
    """

    tries: int = 6
    base: float = 1.0
    cap: float = 60.0
    longest: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    report: Callable[[Refused, float], None] = _unreported

    def __call__(self, call: Callable[[], Result]) -> Result:
        """Return the result of `call`, which is repeated while it is refused with `retry` or `wait`.

        Raises the last Refused if its action is another one, if no tries are left, or if the service asks to
        wait for more than `longest` seconds or for an unknown time.
        """
        for attempt in range(self.tries - 1):
            try:
                return call()
            except Refused as refusal:
                pause = self._pause(attempt, refusal)
                if pause is None:
                    raise
                self.report(refusal, pause)
            self.sleep(pause)
        return call()

    def _pause(self, attempt: int, refusal: Refused) -> float | None:
        after = refusal.retry_after
        if refusal.action in (Action.RETRY, Action.WAIT) and after is not None:
            return after + self.jitter() * min(self.base, after) if after <= self.longest else None
        if refusal.action is Action.RETRY:
            return self.jitter() * min(self.cap, self.base * 2.0**attempt)
        return None
