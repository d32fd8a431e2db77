"""Exchange: a certificate and a CSR become the next certificate.

A bootstrap certificate enrolls its device. An operational certificate renews.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from firstboot.domain.fleet import Fleet
from firstboot.exchange.enroll import Enroll
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issued
from firstboot.exchange.renew import Renew
from firstboot.identity.admission import admit
from firstboot.identity.possession import Presented


class FleetInForce(Protocol):
    """The source of the fleet definition in force."""

    def current(self, now: datetime) -> Fleet:
        """Return the definition in force at `now`. Raises Unavailable when none can be read."""


@dataclass(frozen=True)
class Exchange:
    """The use case that enrolls or renews, depending on the presented certificate."""

    fleet: FleetInForce
    enroll: Enroll
    renew: Renew

    def __call__(self, presented: Presented, request: ExchangeRequest, now: datetime) -> Issued | Claimed:
        """Certify the key in the request.

        Raises Unavailable if the fleet can't be read, and what admit, Enroll and Renew raise.
        """
        fleet = self.fleet.current(now)
        if self.renew.is_asked(presented):
            return self.renew(presented, request, fleet, now)
        return self.enroll(admit(presented, request.device_id, fleet, now), request, now)
