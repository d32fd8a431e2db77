"""Provision: decide whether AWS IoT may give a device the certificate that it made for the device.

This is the decision of a pre-provisioning hook (AWS IoT developer guide, "Pre-provisioning hooks"). AWS IoT
has verified the claim certificate in the handshake of the device's connection, and has made the certificate.

1. AWS IoT has the claim certificate. It is a bootstrap certificate of a group of the fleet, and admits the
   device under a name. The group allows fleet provisioning.
2. The name can be a thing's, and no thing of another has it. AWS IoT would attach the certificate to it.
3. The certificate is the one with the id, and its key is of a type that Firstboot certifies. The key is not
   that of a shared claim certificate.
4. The certificate is recorded as pending, if the device's record, the group's budget and its allow-list
   allow. It is imported: another CA issued it.
5. The certificate is stored. From here on `register` brings AWS IoT to the record as for every device.

Nothing is written before step 4, and a refusal leaves nothing. A repeat gets the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from firstboot.domain.aws_iot import BrokerCertificate
from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import Attribute, CertificateRecord, Device
from firstboot.domain.errors import (
    CertificateNotCurrent,
    DeviceNotExpected,
    EnrollmentInProgress,
    Unavailable,
)
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId, is_thing_name
from firstboot.domain.ways import PROVISIONING
from firstboot.exchange.enroll import enrollment
from firstboot.exchange.errors import ClaimKeyRefused
from firstboot.exchange.reserve import Reserve
from firstboot.identity.admission import Admission, admit
from firstboot.identity.possession import OverTls
from firstboot.identity.ways import check_way
from firstboot.pki.certificate import Certificate, parse_text
from firstboot.pki.der import NotDer
from firstboot.pki.errors import CertificateKeyWeak, CertificateMalformed
from firstboot.pki.signature import KeyRefused

OWNERSHIP = timedelta(hours=1)
"""How long a device may repeat RegisterThing for a certificate: the life of the ownership token (AWS IoT
developer guide, "Device provisioning MQTT API"). Until then the record answers a repeat."""


class Fleets(Protocol):
    """The source of the fleet definition in force."""

    def current(self, now: datetime) -> Fleet:
        """Return the definition in force at `now`. Raises Unavailable when none can be read."""


class ClaimCertificates(Protocol):
    """The certificates of the AWS IoT registry."""

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with this id, or None. Raises Unavailable."""


class Things(Protocol):
    """The things of the AWS IoT registry."""

    def is_of_another(self, device_id: DeviceId) -> bool:
        """Return whether there is a thing of this name that is not ours. Raises Unavailable."""


class Records(Protocol):
    """The device records."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently. Raises Unavailable."""


class CertificateStore(Protocol):
    """The issued certificates. Every method raises Unavailable when AWS does not answer."""

    def put(self, device_id: DeviceId, serial: str, chain: bytes) -> bool:
        """Store `chain` (PEM) unless there is one; return whether this call stored it."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None."""


@dataclass(frozen=True)
class ProvisioningRequest:
    """A device's request to be provisioned with a certificate that AWS IoT made.

    AWS IoT vouches for the two ids (SHA-256, hex) and the certificate (PEM). `said` is the name that the
    device gives itself, and `claims` are its other, unverified statements; both are None without any.
    """

    claim_certificate_id: str
    certificate_id: str
    pem: str
    said: str | None = None
    claims: dict[str, Attribute] | None = None


@dataclass(frozen=True)
class Provision:
    """The use case that decides on a certificate of fleet provisioning and records it."""

    fleet: Fleets
    claim_certificates: ClaimCertificates
    things: Things
    records: Records
    reserve: Reserve
    store: CertificateStore

    def __call__(self, request: ProvisioningRequest, now: datetime) -> DeviceId:
        """Record the certificate, and return the name of the device that gets it.

        Raises AuthenticationError, AuthorizationError, RequestError, ConflictError, LimitError, Unavailable.
        """
        admission = self._admitted(request, now)  # 1
        self._check_thing(admission.device_id)  # 2
        moment = whole_seconds(now)
        record = _record(request, admission, moment)  # 3
        reserved = self.reserve(enrollment(admission, record, moment))  # 4
        if reserved.record.certificate_id != record.certificate_id:
            # A device may have had two certificates made for one key. Only one of them is the device's.
            raise EnrollmentInProgress(
                log=f"{admission.device_id}'s key has the certificate {reserved.record.serial}",
                retry_after=int(OWNERSHIP.total_seconds()),
            )
        self._store(admission.device_id, record, request.pem)  # 5
        return admission.device_id

    def _admitted(self, request: ProvisioningRequest, now: datetime) -> Admission:
        claim = self.claim_certificates.find(request.claim_certificate_id)
        if claim is None:
            raise CertificateNotCurrent(log=f"AWS IoT has no certificate {request.claim_certificate_id}")
        presented = OverTls(parse_text(claim.pem), way=PROVISIONING)
        admission = admit(presented, request.said, self.fleet.current(now), now)
        check_way(admission.way, admission.group)
        return admission

    def _check_thing(self, name: DeviceId) -> None:
        """Refuse a name that is no thing's name, or that of a thing of another.

        Raises DeviceNotExpected, Unavailable.
        """
        if not is_thing_name(name):
            raise DeviceNotExpected(log=f"{name} is no name of a thing in AWS IoT")
        if not self.things.is_of_another(name):
            return
        device = self.records.device(name)
        if device is None or not device.imported:
            raise DeviceNotExpected(log=f"the thing {name} is another's", metric="ThingClash")

    def _store(self, name: DeviceId, record: CertificateRecord, pem: str) -> None:
        """Store the certificate unless it is stored. Raises Unavailable."""
        if self.store.put(name, record.serial, pem.encode()):
            return
        # S3 refuses a put if there is an object, and also if another put of it has not ended.
        found = self.store.get(name, record.serial)
        if found is None or parse_text(found.decode()).fingerprint != record.certificate_id:
            raise Unavailable(log=f"{name}'s certificate {record.serial} could not be stored")


def _record(request: ProvisioningRequest, admission: Admission, now: datetime) -> CertificateRecord:
    """Return the certificate as the device's record holds it until the first login.

    Raises CertificateMalformed, CertificateKeyWeak, ClaimKeyRefused.
    """
    leaf = parse_text(request.pem)
    if leaf.fingerprint != request.certificate_id:
        raise CertificateMalformed(log=f"{request.certificate_id} came with {leaf.fingerprint}")
    spki = _spki(leaf)
    # Every device of a shared group has the claim certificate's key.
    if admission.group.is_shared and spki == admission.by.spki:
        raise ClaimKeyRefused
    return CertificateRecord(
        serial=f"{leaf.serial_number:x}",
        spki=spki,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        # From then on the same key may be certified by Firstboot. A new key may be at any time.
        renew_after=now + OWNERSHIP,
        certificate_id=request.certificate_id,
        imported=True,
        claims=request.claims,
        provisioned=True,
    )


def _spki(leaf: Certificate) -> str:
    try:
        return leaf.spki_fingerprint()
    except (KeyRefused, NotDer) as error:
        raise CertificateKeyWeak(f"The certificate has {error}") from error
