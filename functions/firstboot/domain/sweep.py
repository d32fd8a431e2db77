"""How far a sweep of the device records got."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

PAGE = 1_000
"""Rows of the table in one page: about as many as one Scan reads, and seconds of a Lambda's time."""


@dataclass(frozen=True)
class Sweep:
    """How far a sweep got: devices looked at (`scanned`) and reported to `register` (`touched`), and
    where the next page starts (None: at the beginning). A run is at work until `held_until`; None
    if no run is.
    """

    fleet_hash: str
    started_at: datetime
    after: str | None = None
    scanned: int = 0
    touched: int = 0
    finished_at: datetime | None = None
    held_until: datetime | None = None
