"""Attestation as in Azure's Device Provisioning Service (DPS): by a certificate or by a symmetric key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId, device_id
from firstboot.domain.ways import Way
from firstboot.identity.admission import Admission, admit_verified, verify_bootstrap
from firstboot.identity.errors import DeviceIdMismatch, SignatureRefused
from firstboot.identity.possession import OverTls
from firstboot.identity.symmetric import AdmitByKey
from firstboot.identity.ways import check_way
from firstboot.pki import certificate

_WAY: Way = "dps"


class FleetInForce(Protocol):
    """The source of the fleet definition in force."""

    def current(self, now: datetime) -> Fleet:
        """Return the definition in force at `now`. Raises Unavailable when none can be read."""


@dataclass(frozen=True)
class Attestation:
    """The evidence that a device shows of itself.

    `name` is its registration id, which DPS compares without case. `certificate` is the TLS client
    certificate in PEM, and `authorization` the header of that name.
    """

    id_scope: str
    name: str
    certificate: str | None
    authorization: str


@dataclass(frozen=True)
class Attest:
    """The use case that admits a device that speaks DPS's protocol. It writes nothing."""

    fleet: FleetInForce
    by_key: AdmitByKey

    def __call__(self, shown: Attestation, now: datetime) -> Admission:
        """Admit a device to its group, which allows the way.

        Raises SignatureRefused for the id scope of another service too, and what admission.admit,
        AdmitByKey and check_way raise.
        """
        fleet = self.fleet.current(now)
        name = device_id(shown.name.lower(), fleet.ids)
        if not fleet.id_scope or shown.id_scope.lower() != fleet.id_scope.lower():
            raise SignatureRefused("The id scope is another service's")
        if shown.certificate:
            admission = _by_certificate(shown.certificate, name, fleet, now)
        else:
            resource = f"{shown.id_scope}/registrations/{name}"
            admission = self.by_key(name, resource, shown.authorization, fleet, now)
        check_way(_WAY, admission.group)
        return admission


def _by_certificate(pem: str, name: DeviceId, fleet: Fleet, now: datetime) -> Admission:
    presented = OverTls(certificate.parse_text(pem), way=_WAY)
    verified = verify_bootstrap(presented, fleet, now)
    said = name if verified.group.is_shared else None
    admission = admit_verified(verified, presented, said, fleet, now)
    # The device keeps the id that its certificate gives it in every other way.
    if admission.device_id.lower() != name:
        raise DeviceIdMismatch
    return admission
