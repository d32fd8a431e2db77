"""Keep the calls to AWS IoT's control plane below its quotas: each message is handled at its slot.

The control plane takes 10 to 15 calls of a kind a second, and a fleet may boot at once. A message whose slot
is later is sent to the queue again, delayed until then. It thus costs no billed time and none of its five
tries, and the backlog is known to the second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from aws_lambda_powertools.metrics import MetricUnit

from firstboot.domain.rate_limiter import backlog_seconds, delay_seconds
from firstboot.runtime.guard import Guard


class Slots(Protocol):
    """The rate limiter that all processes share."""

    def reserve(self, now: datetime, rate: float) -> datetime:
        """Take and return the next slot, at `rate` slots a second. Raises Unavailable."""


class Queue(Protocol):
    """The queue that invoked the function."""

    def send(self, body: str, delay: int) -> None:
        """Send a message that arrives after `delay` seconds, 900 at most. Raises Unavailable."""


@dataclass(frozen=True)
class RateLimited:
    """A limit of `rate` messages a second. A message with a later slot is sent back to the queue.

    The default of `rate` (setting `iotRate`) is 7. A device with one grant takes two AttachPolicy, of which
    AWS IoT allows 15 a second by default, and one RegisterCertificateWithoutCA and one UpdateCertificate, of
    which it allows 10.
    """

    slots: Slots
    rate: float
    queue: Queue
    guard: Guard

    def is_due(self, slot: datetime | None, now: datetime, again: Callable[[datetime], str]) -> bool:
        """Return whether a message may be handled now; if not, send it back until its slot.

        `slot` is the message's own slot, None if it has not taken one. `again` renders the message with its
        slot. When a send fails, the message stays in the queue with the slot it came with. Raises
        Unavailable.
        """
        own = self.slots.reserve(now, self.rate) if slot is None else slot
        self.guard.count("RegistrationBacklog", backlog_seconds(own, now), MetricUnit.Seconds)
        delay = delay_seconds(own, now)
        if delay:
            # The message carries its slot, so that it takes no second one when it comes back.
            self.queue.send(again(own), delay)
        return not delay
