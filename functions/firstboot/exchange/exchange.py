"""Exchange: a certificate and a CSR become the next certificate.

A bootstrap certificate enrolls its device. An operational certificate renews.
"""

from __future__ import annotations

from collections.abc import Callable
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
from firstboot.identity.possession import Presented, Recorded
from firstboot.pki.outline import Outline, outline

Said = Callable[[], str | None]
"""Return the device id in a request; None if there is none, or if it is read later."""


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

        Raises Unavailable if the fleet can't be read, and what admit, Enroll, Renew and Waiting.refuse raise.
        """
        # A certificate that a device's record names renews, although a group's CA may have signed it.
        if not isinstance(presented, Recorded):
            self._refuse(presented.leaf, lambda: request.device_id, now)
        fleet = self.fleet.current(now)
        if self.renew.is_asked(presented):
            return self.renew(presented, request, fleet, now)
        admission = admit(presented, request.device_id, fleet, now)
        return self.admitted(admission, request, now)

    def refuse_early(self, client_certificate: str, said: Said, now: datetime) -> None:
        """Refuse an enrollment before anything else of it is read, if a limit is known to be reached.

        `client_certificate` is that of the TLS client, whose possession the handshake proved. `said` is
        called for a certificate that devices share. A certificate that is malformed is not refused here.
        Raises Unavailable if the fleet can't be read, and what Waiting.refuse raises.
        """
        if not self.waiting.is_needless(now):
            leaf = outline(client_certificate)
            if leaf:
                self._refuse(leaf, said, now)

    def _refuse(self, leaf: Outline, said: Said, now: datetime) -> None:
        """Refuse an enrollment before its certificate's path and its CSR are verified.

        The caller has proved possession of `leaf`. A certificate that no known issuer's key has signed is not
        refused here, and takes no slot.
        """
        if self.waiting.is_needless(now):
            return
        fleet = self.fleet.current(now)
        known = self.issuers.group_of(leaf, fleet)
        if known is None:
            return
        name = said() if known.is_shared else None
        # With no valid id, a shared certificate is refused for that. It takes no slot: without an id all its
        # devices would have the same one, and a text of any length would fill the process's memory.
        if not known.is_shared or (name is not None and fleet.ids.allows(name)):
            self.waiting.refuse(known, leaf.identifier, name, now)

    def admitted(self, admission: Admission, request: ExchangeRequest, now: datetime) -> Issued | Claimed:
        """Certify the key in the request for a device that is admitted.

        Raises what Waiting.refuse and Enroll raise.
        """
        if admission.path:
            self.issuers.note(admission.path, admission.group, self.fleet.current(now))
        self.waiting.check(admission.group, admission.by.identifier, request.device_id, now)
        return self.enroll(admission, request, now)
