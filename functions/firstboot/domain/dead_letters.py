"""The contents of dead-letter queues: requests and work that could not be handled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Letter:
    """A message received from a queue, which SQS got at `sent_at`.

    SQS hides it from other receivers until its visibility time-out ends. `receipt` is needed to delete it.
    """

    receipt: str
    body: str
    sent_at: datetime
