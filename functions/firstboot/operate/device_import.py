"""Device import: a device that AWS IoT knows, with its certificate, gets a device record.

From then on it renews like one of ours.

1. The group is there, its devices have certificates in AWS IoT, and every attribute fits the schema:
   otherwise nothing is done.
2. A device that has a record keeps it, and costs AWS IoT nothing: a list may be sent again.
3. Its thing has exactly one ACTIVE certificate, with a key of a kind we certify.
4. The certificate is stored beside the issued ones; then
5. the record is written, with the key, which belongs to this device from now on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Protocol

from firstboot.domain.aws_iot import BrokerCertificate
from firstboot.domain.claim import RefusedBy
from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import CertificateRecord, Device, Status
from firstboot.domain.errors import KeyInUse
from firstboot.domain.names import DeviceId
from firstboot.operate.audit import Audit
from firstboot.operate.fleet_in_force import FleetInForce
from firstboot.operate.groups import check, find
from firstboot.operate.requests import ImportDevices, checked_ids
from firstboot.pki.certificate import parse_text
from firstboot.pki.der import NotDer
from firstboot.pki.errors import CertificateKeyWeak, CertificateMalformed
from firstboot.pki.signature import KeyRefused
from firstboot.policy.rules import Rules
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import Json


class Records(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def import_device(self, device: Device, active: CertificateRecord) -> RefusedBy | None:
        """Write the first record of a device that is in AWS IoT with the certificate `active`.

        Returns what stands against it (DEVICE: it has a record; KEY); all or nothing.
        """


class Certificates(Protocol):
    """The certificates of the AWS IoT registry. Every method raises Unavailable when AWS does not answer."""

    def of(self, device_id: DeviceId) -> list[str]:
        """Return the ids of the certificates attached to the device's thing; none if there is no thing."""

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with that id, if there is one."""


class CertificateStore(Protocol):
    """The issued certificates."""

    def put(self, device_id: DeviceId, serial: str, chain: bytes) -> bool:
        """Store `chain` (PEM) unless there is one; True if this call stored it. Raises Unavailable."""


@dataclass
class Imported:
    """What became of the devices; `refused` gives the reason in words."""

    imported: list[DeviceId] = field(default_factory=list)
    known: list[DeviceId] = field(default_factory=list)
    refused: dict[DeviceId, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DeviceImport:
    """Give devices of AWS IoT their records, in a group and with their attributes."""

    records: Records
    certificates: Certificates
    store: CertificateStore
    fleet: FleetInForce
    audit: Audit

    def __call__(self, parameters: ImportDevices, now: datetime) -> Json:
        """Import devices; the answer says what became of each.

        Raises GroupNotFound, MalformedRequest, AttributesInvalid, Unavailable.
        """
        name, rules = parameters.group, Rules(self.fleet.current(now))
        if find(name, rules.fleet).mqtt != "registry":  # 1
            raise MalformedRequest("The group's devices have no certificates in AWS IoT (mqtt)")
        moment = whole_seconds(now)
        devices = [
            Device(each, name, Status.ENROLLED, 0, moment, moment, attributes=attributes)
            for each, attributes in checked_ids(parameters.devices).items()
        ]
        for device in devices:
            check(device, rules)
        outcome = Imported()
        for device in devices:
            self._import(device, outcome)
        self.audit("DevicesImported", group=name, devices=outcome.imported)
        return asdict(outcome)

    def _import(self, device: Device, outcome: Imported) -> None:
        if self.records.device(device.device_id):  # 2
            outcome.known.append(device.device_id)
            return
        active = self._active(device.device_id)  # 3
        if len(active) != 1:
            count = len(active) or "no"
            outcome.refused[device.device_id] = f"Its thing has {count} ACTIVE certificates in AWS IoT"
            return
        try:
            record = _record(active[0], device.created_at)
        except (CertificateMalformed, CertificateKeyWeak) as error:
            outcome.refused[device.device_id] = error.title
            return
        self.store.put(device.device_id, record.serial, active[0].pem.encode())  # 4
        match self.records.import_device(replace(device, active=record), record):  # 5
            case None:
                outcome.imported.append(device.device_id)
            case RefusedBy.DEVICE:  # another call was faster
                outcome.known.append(device.device_id)
            case _:
                outcome.refused[device.device_id] = KeyInUse.title

    def _active(self, device_id: DeviceId) -> list[BrokerCertificate]:
        found = (self.certificates.find(each) for each in self.certificates.of(device_id))
        return [each for each in found if each and each.status == "ACTIVE"]


def _record(certificate: BrokerCertificate, now: datetime) -> CertificateRecord:
    """Raises CertificateMalformed, CertificateKeyWeak."""
    leaf = parse_text(certificate.pem)
    try:
        spki = leaf.spki_fingerprint()
    except (KeyRefused, NotDer) as error:
        raise CertificateKeyWeak(f"The certificate has {error}") from error
    return CertificateRecord(
        serial=f"{leaf.serial_number:x}",
        spki=spki,
        not_before=leaf.not_before,
        not_after=leaf.not_after,
        renew_after=now,
        certificate_id=certificate.certificate_id,
        imported=True,
    )
