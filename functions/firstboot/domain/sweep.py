"""How far a sweep of the device records got."""

from __future__ import annotations

from dataclasses import dataclass

PAGE = 1_000
"""Rows of the registry at a time: about what one Scan reads, and seconds of a Lambda's time."""


@dataclass(frozen=True)
class Sweep:
    """How far a sweep got: devices looked at (`scanned`) and told to `register` (`touched`), and
    where the next page starts (None: at the beginning). Times are epoch seconds; until
    `held_until` a run is at work.
    """

    fleet_hash: str
    started_at: int
    after: str | None = None
    scanned: int = 0
    touched: int = 0
    finished_at: int | None = None
    held_until: int = 0
