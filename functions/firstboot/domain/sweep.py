"""The progress of a sweep over the device records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from firstboot.domain.device import Device

PAGE = 1_000
"""The most rows of the table in one page. One Scan reads about as many."""

SLICE = timedelta(seconds=5)
"""The time after which no further device of a page is looked at. The next page begins at this device."""

MAX_ANCHORS = 500
"""The most anchors that are counted one by one, and the most ways of groups. All counts of a sweep then take
under 150 KB of its row, and DynamoDB allows 400 KB (developer guide, "Quotas", item size)."""

UNLISTED = "unlisted"
"""Stands for the devices that are counted under no anchor or way: their records have none, or there are too
many."""

Counts = Mapping[str, Mapping[str, int]]
"""Numbers of enrolled devices, by group and by the SHA-256 (hex) of their trust anchor's key, or by way."""


@dataclass(frozen=True)
class Origins:
    """The numbers of devices by trust anchor and by way, as a complete sweep counted them until `at`.

    `ways` is None if the sweep began under an older version, which counted no ways.
    """

    at: datetime
    devices: Counts
    ways: Counts | None = None


def counted(known: Counts, devices: Iterable[Device]) -> Counts:
    """Return the counts `known` by anchor with more devices. A device that never enrolled is not counted."""
    return _counted(known, devices, lambda device: device.anchor.key if device.anchor else UNLISTED)


def counted_ways(known: Counts, devices: Iterable[Device]) -> Counts:
    """Return the counts `known` by way with more devices. A device that never enrolled is not counted."""
    return _counted(known, devices, lambda device: device.way or UNLISTED)


def _counted(known: Counts, devices: Iterable[Device], by: Callable[[Device], str]) -> Counts:
    counts = {group: dict(numbers) for group, numbers in known.items()}
    for device in devices:
        if device.enrolled_by is None:
            continue
        numbers, key = counts.setdefault(device.group, {}), by(device)
        if key not in numbers and sum(map(len, counts.values())) >= MAX_ANCHORS:
            key = UNLISTED
        numbers[key] = numbers.get(key, 0) + 1
    return counts


class Slice:
    """The devices of a page as far as the time allows: an iterable that ends when the time is over.

    `looked` are the devices that it gave, and the page after them begins at `following`. It gives at least
    one device of a page that has one, so that each slice brings the work forward at any cost of a device.
    """

    def __init__(
        self,
        devices: list[Device],
        following: str | None,
        after: Callable[[Device], str],
        is_over: Callable[[], bool],
    ) -> None:
        """Begin the slice of a page that is followed by the page `following`.

        `after` returns where the page begins that follows a device. `is_over` says whether the time is over.
        """
        self.looked: list[Device] = []
        self.following = following
        self._devices, self._after, self._is_over = devices, after, is_over

    def __iter__(self) -> Iterator[Device]:
        """Yield the devices in order until the time is over."""
        for device in self._devices:
            if self.looked and self._is_over():
                self.following = self._after(self.looked[-1])
                return
            self.looked.append(device)
            yield device


@dataclass(frozen=True)
class Sweep:
    """The progress of a sweep under the fleet with the hash `fleet_hash`.

    The policies up to the name `policy` are up to date; it is None once the first page is done. `scanned`
    counts the devices that were checked, `touched` those that were ordered to be reconciled. The next page
    starts at `after`; None is the beginning. A run holds the sweep until `held_until`, None if no run does.
    `counts` and `ways` are this sweep's until now, and `origins` those of the last complete sweep. `ways` is
    None as in Origins.
    """

    fleet_hash: str
    started_at: datetime
    policy: str | None = None
    after: str | None = None
    scanned: int = 0
    touched: int = 0
    finished_at: datetime | None = None
    held_until: datetime | None = None
    counts: Counts = field(default_factory=dict)
    ways: Counts | None = field(default_factory=dict)
    origins: Origins | None = None
