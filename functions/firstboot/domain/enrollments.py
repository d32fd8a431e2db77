"""A device's enrollments: how often it may enroll, and which of its enrollments look like those of a copy.

Two boards with copies of one disk have one bootstrap key, so no request tells which of them is the original.
Each enrollment of one takes the other's certificate out of use, and the other enrolls again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MAX_PAUSE = timedelta(hours=6)
"""The longest time for which a device that enrolled too often is refused: a quarter of a day, also where a
group allows one enrollment a day."""

KEPT = 16
"""How many enrollments a record keeps: a day's default limit, and some of the days before."""

KEY_DIGITS = 16
"""How many hexadecimal digits of a key's fingerprint a record keeps. They tell a device's own keys apart."""

OFTEN = 3
"""How many replaced certificates within OFTEN_WITHIN make a device suspect. A repaired or reset device
replaces one."""

OFTEN_WITHIN = timedelta(days=30)


@dataclass(frozen=True)
class Enrolled:
    """A committed enrollment with a bootstrap certificate, which gave the device this generation.

    `key` and `bootstrap_key` are the first digits of the SHA-256 (hex) of the certified key and of the
    bootstrap certificate's key. `has_replaced` is true if the device had a valid certificate before.
    """

    at: datetime
    generation: int
    key: str
    bootstrap_key: str
    has_replaced: bool


class Suspicion(StrEnum):
    """A reason to suspect that two boards are one device."""

    OFTEN = "often"  # its enrollments replaced valid certificates again and again
    ALTERNATES = "alternates"  # a key was enrolled again after another one


def pause_between(per_day: int) -> timedelta:
    """Return the time from one enrollment of a device to its next one, above its limit of a day.

    A device whose name a copy has taken gets it back after this time, and not on the next day only.
    """
    return min(MAX_PAUSE, timedelta(seconds=max(1, 86_400 // per_day)))


def suspicions(enrolled: Sequence[Enrolled], now: datetime) -> list[Suspicion]:
    """Return why the enrollments of a device, oldest first, look like those of two boards."""
    recent = [each for each in enrolled if each.has_replaced and now - each.at < OFTEN_WITHIN]
    found = [Suspicion.OFTEN] if len(recent) >= OFTEN else []
    if _returns(each.key for each in enrolled) or _returns(each.bootstrap_key for each in enrolled):
        found.append(Suspicion.ALTERNATES)
    return found


def _returns(keys: Iterable[str]) -> bool:
    """Return whether a key comes again after another one."""
    left: set[str] = set()
    last = None
    for key in keys:
        if key != last:
            if key in left:
                return True
            left.add(key)
        last = key
    return False
