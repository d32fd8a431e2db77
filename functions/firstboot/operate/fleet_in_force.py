"""The fleet definition as the operator's calls read it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from firstboot.domain.fleet import Fleet


class FleetInForce(Protocol):
    """The source of the fleet definition in force, read anew for every call.

    An operator must see what was published before the call.
    """

    def current(self, now: datetime) -> Fleet:
        """Return the definition in force at `now`. Raises Unavailable when none can be read."""
