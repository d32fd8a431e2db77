"""Refuse requests early while AWS throttles the calls for them, and give each device its retry slot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from firstboot.domain.clock import whole_seconds
from firstboot.domain.errors import Unavailable
from firstboot.domain.lanes import THROTTLED, Lanes
from firstboot.domain.names import DeviceId
from firstboot.domain.retry_slots import Lane
from firstboot.pki import path
from firstboot.pki.certificate import Certificate
from firstboot.pki.outline import Outline, outline
from firstboot.runtime.problem import Backlog, retry_in

_STORM_SECONDS = 60
"""A backlog of AWS IoT from which on a device that asks for its readiness gets a slot of its own."""


@dataclass(frozen=True)
class Waiting:
    """The limit of credentials.

    `vending` is the lane of the requests that AWS throttles. `ca` is the issuing CA's certificate.
    """

    lanes: Lanes
    vending: Lane
    ca: Certificate

    def refuse_early(self, client_certificate: str, now: datetime) -> None:
        """Refuse a request as `refuse` does, before anything else of it is read.

        `client_certificate` is that of the TLS client. One that is malformed is not refused here.
        """
        if self._is_closed(now):
            leaf = outline(client_certificate)
            if leaf:
                self.refuse(leaf, now)

    def refuse(self, leaf: Outline, now: datetime) -> None:
        """Refuse a request if AWS throttled one in this second, and the issuing CA's key signed `leaf`.

        The caller has proved possession of `leaf`. Each device gets a slot of its own. Raises Unavailable.
        """
        # The signature is verified only in a storm, because the login verifies it too.
        if self._is_closed(now) and path.signed_by(leaf, self.ca):
            self.check(leaf.identifier, now)

    def check(self, certificate_id: str, now: datetime) -> None:
        """Refuse a request if AWS throttled one in this second.

        The caller has verified that it is one of the certificate's device. Raises Unavailable.
        """
        if self._is_closed(now):
            refusal = self._throttled(certificate_id, "AWS throttled a request in this second", now)
            refusal.is_early = True
            raise refusal

    @contextmanager
    def noticing(self, certificate_id: str, now: datetime) -> Iterator[None]:
        """Give a caller whose request AWS throttles its slot. Raises Unavailable."""
        try:
            yield
        except Unavailable as error:
            if not error.is_throttled:
                raise
            self.lanes.close(self.vending, whole_seconds(now) + THROTTLED)
            raise self._throttled(certificate_id, error.log, now) from error

    def _is_closed(self, now: datetime) -> bool:
        return self.lanes.is_closed(self.vending, now, probes=False)

    def _throttled(self, caller: str, log: str, now: datetime) -> Unavailable:
        slot = self.lanes.wait(self.vending, caller, now)
        return Unavailable(log=log, slot=slot, metric="CredentialsThrottled", is_throttled=True)


@dataclass(frozen=True)
class Readiness:
    """The time after which a device asks again whether AWS IoT knows its certificate.

    `backlog` is the time until the last order is handled. In a storm it is hours, and most orders are handled
    long before. The slots of `reconciling`, as many a second as orders are handled, let the devices come in
    the order in which they asked.
    """

    backlog: Backlog
    lanes: Lanes
    reconciling: Lane

    def retry_in(self, device_id: DeviceId, now: datetime, *, ready: bool) -> int:
        """Return the seconds after which the device asks again; 0 if AWS IoT knows its certificate."""
        seconds = retry_in(device_id, self.backlog, now, ready=ready)
        if seconds <= _STORM_SECONDS:
            return seconds
        slot = self.lanes.wait(self.reconciling, device_id, now)
        return seconds if slot is None else min(slot, seconds)
