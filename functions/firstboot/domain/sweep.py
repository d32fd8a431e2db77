"""The progress of a sweep over the device records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

PAGE = 1_000
"""The rows of the table in one page. One Scan reads about as many, and a page takes a Lambda some seconds."""


@dataclass(frozen=True)
class Sweep:
    """The progress of a sweep under the fleet with the hash `fleet_hash`.

    `scanned` counts the devices that were checked, `touched` those that were ordered to be reconciled. The
    next page starts at `after`; None is the beginning. A run holds the sweep until `held_until`, None if no
    run does.
    """

    fleet_hash: str
    started_at: datetime
    after: str | None = None
    scanned: int = 0
    touched: int = 0
    finished_at: datetime | None = None
    held_until: datetime | None = None
