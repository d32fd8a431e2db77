"""Plan a fleet definition: how many devices it would touch in AWS IoT."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from firstboot.compiler import fleet as compiler
from firstboot.domain.device import Device
from firstboot.domain.fleet import Fleet
from firstboot.domain.sweep import PAGE
from firstboot.policy.attachment import Found, look
from firstboot.policy.rules import Rules


class Pages(Protocol):
    """The device records, page by page."""

    def page(self, limit: int, after: str | None) -> tuple[list[Device], str | None]:
        """Return the devices among `limit` rows behind `after`, and where the next page starts, if any."""


def plan(fleet: Fleet, records: Pages, after: str | None, now: datetime) -> Found:
    """Find what a page of device records, behind `after`, would need if `fleet` were in force.

    The caller need not have compiled `fleet` with this compiler, so it is checked first.
    Raises FleetInvalid, Unavailable.
    """
    compiler.check(fleet)
    return look(Rules(fleet), *records.page(PAGE, after), now)
