"""The progress of a sweep over the device records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from firstboot.domain.device import Device

PAGE = 1_000
"""The rows of the table in one page. One Scan reads about as many, and a page takes a Lambda some seconds."""


MAX_ANCHORS = 500
"""The most anchors that are counted one by one. Both counts of a sweep then take under 100 KB of its row."""

UNLISTED = "unlisted"
"""Stands for the devices that are counted under no anchor: their records have none, or there are too many."""

Counts = Mapping[str, Mapping[str, int]]
"""Numbers of enrolled devices, by group and by the SHA-256 (hex) of their trust anchor's key."""


@dataclass(frozen=True)
class Origins:
    """The numbers of devices by trust anchor, as a complete sweep counted them until `at`."""

    at: datetime
    devices: Counts


def counted(known: Counts, devices: Iterable[Device]) -> Counts:
    """Return the counts `known` with more devices. A device that never enrolled is not counted."""
    counts = {group: dict(numbers) for group, numbers in known.items()}
    for device in devices:
        if device.enrolled_by is None:
            continue
        numbers = counts.setdefault(device.group, {})
        anchor = device.anchor.key if device.anchor else UNLISTED
        if anchor not in numbers and sum(map(len, counts.values())) >= MAX_ANCHORS:
            anchor = UNLISTED
        numbers[anchor] = numbers.get(anchor, 0) + 1
    return counts


@dataclass(frozen=True)
class Sweep:
    """The progress of a sweep under the fleet with the hash `fleet_hash`.

    `scanned` counts the devices that were checked, `touched` those that were ordered to be reconciled. The
    next page starts at `after`; None is the beginning. A run holds the sweep until `held_until`, None if no
    run does. `counts` are this sweep's until now, and `origins` those of the last complete sweep.
    """

    fleet_hash: str
    started_at: datetime
    after: str | None = None
    scanned: int = 0
    touched: int = 0
    finished_at: datetime | None = None
    held_until: datetime | None = None
    counts: Counts = field(default_factory=dict)
    origins: Origins | None = None
