"""Keep AWS IoT's control plane below its quota: each message waits for its slot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from aws_lambda_powertools.metrics import MetricUnit

from firstboot.domain.rate_limiter import backlog_seconds, delay_seconds
from firstboot.runtime.guard import Guard


class Slots(Protocol):
    """The rate limiter, one for all processes."""

    def reserve(self, now: datetime, rate: float) -> datetime:
        """Take and return the next slot, at `rate` slots a second. Raises Unavailable."""


class Queue(Protocol):
    """The queue that invoked us."""

    def send(self, body: str, delay: int) -> None:
        """Send a message that arrives after `delay` seconds (900 at most). Raises Unavailable."""


@dataclass(frozen=True)
class RateLimited:
    """Let messages through at `rate` a second; a message whose slot is later comes back then."""

    slots: Slots
    rate: float
    queue: Queue
    guard: Guard

    def is_due(self, slot: datetime | None, now: datetime, again: Callable[[datetime], str]) -> bool:
        """Return whether a message may be handled now; if not, send it back until its slot.

        `slot` is the message's own, None if it has not taken one. `again` renders the message with its
        slot. Raises Unavailable.
        """
        own = self.slots.reserve(now, self.rate) if slot is None else slot
        self.guard.count("RegistrationBacklog", backlog_seconds(own, now), MetricUnit.Seconds)
        delay = delay_seconds(own, now)
        if delay:
            self.queue.send(again(own), delay)
        return not delay
