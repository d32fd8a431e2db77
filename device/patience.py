"""Repeat a call as long as the service asks for it, within bounds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from device.refusal import Action, Refused

Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How often a call is made, and the pauses between, in seconds.

    Pauses double from `base` to `cap` with full jitter (AWS Architecture Blog, "Exponential
    Backoff And Jitter"), so that a fleet that lost power together doesn't come back together.
    """

    tries: int = 6
    base: float = 1.0
    cap: float = 60.0
    longest: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def __call__(self, call: Callable[[], Result]) -> Result:
        """The result of `call`, repeated while it is refused with `retry` or `wait`.

        Raises the last Refused: another action, no tries left, or a wait that is above `longest` or
        of unknown length.
        """
        for attempt in range(self.tries - 1):
            try:
                return call()
            except Refused as refusal:
                pause = self._pause(attempt, refusal)
                if pause is None:
                    raise
            self.sleep(pause)
        return call()

    def _pause(self, attempt: int, refusal: Refused) -> float | None:
        after = refusal.retry_after
        if refusal.action in (Action.RETRY, Action.WAIT) and after is not None:
            return after + self.jitter() * min(self.base, after) if after <= self.longest else None
        if refusal.action is Action.RETRY:
            return self.jitter() * min(self.cap, self.base * 2.0**attempt)
        return None
