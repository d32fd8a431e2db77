"""Note how long an order waits until AWS IoT is reconciled, for the answers to devices and operators."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from aws_lambda_powertools.metrics import MetricUnit

from firstboot.domain.clock import EPOCH
from firstboot.domain.errors import Unavailable
from firstboot.runtime.guard import Guard

_EVERY = timedelta(seconds=5)
"""How often a process counts the orders that wait."""


class Waiting(Protocol):
    """A queue of orders."""

    def waiting(self) -> int:
        """Return about how many messages wait, delayed ones included. Raises Unavailable."""


class Notes(Protocol):
    """The place where every process finds the backlog."""

    def note_backlog(self, waiting: int, now: datetime, rate: float) -> int:
        """Write when `waiting` orders will have been handled; return how many seconds that takes.

        Raises Unavailable.
        """


@dataclass
class Backlog:
    """The backlog of all queues, which are worked on at `rate` orders a second."""

    queues: Iterable[Waiting]
    notes: Notes
    rate: float
    guard: Guard
    due: datetime = field(default=EPOCH, init=False)

    def note(self) -> None:
        """Count the orders that wait, and note how long they take. Most calls of a process do nothing."""
        now = self.guard.now()
        if now < self.due:
            return
        self.due = now + _EVERY
        # The backlog is advice. An order is not delayed because it can't be counted.
        with suppress(Unavailable):
            seconds = self.notes.note_backlog(sum(each.waiting() for each in self.queues), now, self.rate)
            self.guard.count("RegistrationBacklog", seconds, MetricUnit.Seconds)
