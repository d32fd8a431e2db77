"""Keep the calls to AWS IoT's control plane below its quotas: a worker waits for its turn before it writes.

The control plane takes 10 to 15 calls of a kind a second, and a fleet may boot at once. Orders wait in their
queues, where waiting is free and uses up none of their receives. Lambda gives each queue few workers, and a
worker that has received an order waits here, inside the function, for the next slot of the rate limiter. So
no function sends a waiting message to the queue that invoked it. Lambda would stop such a chain after 16
invocations (Lambda developer guide, "Use Lambda recursive loop detection to prevent infinite loops").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from firstboot.domain.rate_limiter import Priority, Slot

PATIENCE = timedelta(seconds=30)
"""How long a worker waits behind higher priorities. Then it takes the next slot, because otherwise the
function would end and the message would lose a receive. So ten workers get a slot every three seconds."""


JITR_SHARE = 0.75
"""The share of a slot that a decision of JITR takes; an order takes a whole one. With 7 slots a second,
decisions alone make 9.3 UpdateCertificate and DescribeCertificate a second, of which AWS IoT allows 10."""

JITR_PATIENCE = timedelta(seconds=3)
"""How long a decision of JITR waits behind orders. By default four workers wait, so there is one decision a
second during any storm of orders. That takes a tenth of the slots."""


class Limiter(Protocol):
    """The rate limiter that all processes share."""

    def take(self, now: datetime, rate: float, priority: Priority, share: float = 1) -> Slot:
        """Take the next slot if the priority may have it, otherwise return when to ask again.

        There are `rate` slots a second, of which this takes `share`. Raises Unavailable.
        """


class TakeSlot(Protocol):
    """The slots of one order. A use case takes one for each certificate that it writes to."""

    def __call__(self) -> None:
        """Take the next slot, and wait for it. Raises Unavailable."""

    def in_time(self) -> bool:
        """Return whether there is time for further slots. Work that can continue later stops otherwise."""


@dataclass(frozen=True)
class Slots:
    """The slots of all orders, `rate` a second together.

    The default of `rate` (setting `iotRate`) is 7. A device with one grant takes two AttachPolicy, of which
    AWS IoT allows 15 a second by default, and one RegisterCertificateWithoutCA and one UpdateCertificate, of
    which it allows 10. A decision of JITR takes `JITR_SHARE` of a slot: one AttachPolicy and one
    UpdateCertificate.
    """

    limiter: Limiter
    rate: float
    now: Callable[[], datetime]
    pause: Callable[[float], None]

    def of(self, priority: Priority, share: float = 1, patience: timedelta = PATIENCE) -> TakeSlot:
        """Return what takes the slots of an order that begins now, each time `share` of one."""
        return _TakeSlot(self, priority, share, self.now() + patience)


@dataclass(frozen=True)
class _TakeSlot:
    """The slots of an order, which no longer gives way to higher priorities at `patient_until`."""

    slots: Slots
    priority: Priority
    share: float
    patient_until: datetime

    def __call__(self) -> None:
        """Take the next slot, and wait for it. Raises Unavailable."""
        while not (slot := self._asked()).taken:
            self._wait(min(slot.at, self.patient_until))
        self._wait(slot.at)

    def in_time(self) -> bool:
        """Return whether there is time for further slots."""
        return self.slots.now() < self.patient_until

    def _asked(self) -> Slot:
        priority = self.priority if self.in_time() else Priority.REVOCATION
        return self.slots.limiter.take(self.slots.now(), self.slots.rate, priority, self.share)

    def _wait(self, until: datetime) -> None:
        seconds = (until - self.slots.now()).total_seconds()
        if seconds > 0:
            self.slots.pause(seconds)
