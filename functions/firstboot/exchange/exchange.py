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
from firstboot.exchange.waiting import Waiting
from firstboot.identity.admission import Admission, admit
from firstboot.identity.known_issuers import KnownIssuers
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
    issuers: KnownIssuers
    waiting: Waiting

    def __call__(self, presented: Presented, request: ExchangeRequest, now: datetime) -> Issued | Claimed:
        """Certify the key in the request.

        Raises Unavailable if the fleet can't be read, and what admit, Enroll, Renew and Waiting.check raise.
        """
        fleet = self.fleet.current(now)
        if self.renew.is_asked(presented):
            return self.renew(presented, request, fleet, now)
        leaf, said = presented.leaf, request.device_id
        # In a storm a request is refused before its certificate's path and its CSR are verified. A caller
        # that no known issuer's key has vouched for is refused after that only, and takes no slot before.
        known = self.issuers.group_of(leaf, fleet)
        if known:
            self.waiting.check(known, leaf.identifier, said, now)
        admission = admit(presented, said, fleet, now)
        if admission.issuer:
            self.issuers.note(leaf, admission.issuer, admission.group, fleet)
        if known:
            return self.enroll(admission, request, now)
        return self.admitted(admission, request, now)

    def admitted(self, admission: Admission, request: ExchangeRequest, now: datetime) -> Issued | Claimed:
        """Certify the key in the request for a device that is admitted.

        Raises what Waiting.check and Enroll raise.
        """
        self.waiting.check(admission.group, admission.by.identifier, request.device_id, now)
        return self.enroll(admission, request, now)
