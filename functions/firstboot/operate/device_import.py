"""Device import: give a device that AWS IoT knows, with its certificate, a device record.

The imported certificate may be used for one thing only, to renew. Firstboot's CA did not issue it, so it
proves its device only over MQTT, where AWS IoT has verified it. The next login supersedes it.

1. The group exists, its devices have certificates in AWS IoT, every attribute fits the schema, and no device
   would certainly hold more grants than fit. Otherwise nothing is done.
2. A device that has a record keeps it, and costs no call to AWS IoT. So an import is resumed by repeating it.
3. The device's thing has exactly one ACTIVE certificate, with a key of a type that Firstboot certifies. The
   thing has room for its group, and the certificate for the policies that it gets.
4. The certificate is stored beside the issued ones, or is stored there already.
5. The record is written with the key, which belongs to this device from now on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Protocol

from firstboot.domain.aws_iot import BrokerCertificate
from firstboot.domain.claim import RefusedBy
from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import CertificateRecord, Device, Status
from firstboot.domain.errors import KeyInUse, Unavailable
from firstboot.domain.names import DeviceId
from firstboot.operate.audit import Audit
from firstboot.operate.fleet_in_force import FleetInForce
from firstboot.operate.groups import check, check_space, find
from firstboot.operate.requests import ImportDevices, checked_ids
from firstboot.pki.certificate import parse_text
from firstboot.pki.der import NotDer
from firstboot.pki.errors import CertificateKeyWeak, CertificateMalformed
from firstboot.pki.signature import KeyRefused
from firstboot.policy.attachment import grants_to_attach
from firstboot.policy.limits import IOT_POLICIES, THING_GROUPS
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.policy.sums import OWN_POLICIES
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import Json


class Records(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def import_device(self, device: Device, active: CertificateRecord) -> RefusedBy | None:
        """Write the first record of a device that is in AWS IoT with the certificate `active`.

        The record and the key's row are written together or not at all. Return None, or what prevented it:
        DEVICE if the device has a record, KEY if the key is another device's.
        """


class Certificates(Protocol):
    """The certificates of the AWS IoT registry. Every method raises Unavailable when AWS does not answer."""

    def of(self, device_id: DeviceId) -> list[str]:
        """Return the ids of the certificates attached to the device's thing; none without a thing."""

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with this id, or None."""

    def groups(self, device_id: DeviceId) -> frozenset[str]:
        """Return the names of the groups of the device's thing."""

    def policies(self, certificate: BrokerCertificate) -> frozenset[str]:
        """Return the names of the certificate's policies."""


class CertificateStore(Protocol):
    """The issued certificates. Every method raises Unavailable when AWS does not answer."""

    def put(self, device_id: DeviceId, serial: str, chain: bytes) -> bool:
        """Store `chain` (PEM) unless there is one; return whether this call stored it."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None."""


@dataclass
class Imported:
    """The outcome for each device. `refused` has the reason for the operator to read.

    `warnings` are about grants that may be too large together.
    """

    imported: list[DeviceId] = field(default_factory=list)
    known: list[DeviceId] = field(default_factory=list)
    refused: dict[DeviceId, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DeviceImport:
    """The use case that gives devices of AWS IoT their records, in a group and with attributes.

    Names of thing groups and policies that are ours begin with the name of the `stack`.
    """

    records: Records
    certificates: Certificates
    store: CertificateStore
    fleet: FleetInForce
    audit: Audit
    place: Place
    stack: str

    def __call__(self, parameters: ImportDevices, now: datetime) -> Json:
        """Import devices, and return the outcome for each.

        A repeat imports the devices that are missing. Raises GroupNotFound, MalformedRequest,
        AttributesInvalid, DeviceIdInvalid and Unavailable, after which some devices may have been imported.
        """
        rules = Rules(self.fleet.current(now))
        group = find(parameters.group, rules.fleet)
        if group.mqtt != "registry":  # 1
            raise MalformedRequest(
                "The group's devices have no certificates in AWS IoT: its `mqtt` is not `registry`"
            )
        moment = whole_seconds(now)
        named = checked_ids(parameters.devices, rules.fleet.ids)
        check_space(named, group)
        devices = [
            Device(each, group.name, Status.ENROLLED, 0, moment, moment, attributes=attributes)
            for each, attributes in named.items()
        ]
        warnings = check(devices, rules, self.place)
        # All devices are checked by now, so that a mistake in the list imports none of them.
        outcome = Imported(warnings=warnings)
        for device in devices:
            self._import(device, rules, outcome)
        self.audit("DevicesImported", group=group.name, devices=outcome.imported)
        return asdict(outcome)

    def _import(self, device: Device, rules: Rules, outcome: Imported) -> None:
        if self.records.device(device.device_id):  # 2
            outcome.known.append(device.device_id)
            return
        active = self._active(device.device_id)  # 3
        if len(active) != 1:
            count = len(active) or "no"
            outcome.refused[device.device_id] = (
                f"The device's thing has {count} ACTIVE certificates in AWS IoT"
            )
            return
        if full := self._full(device, active[0], rules):
            outcome.refused[device.device_id] = full
            return
        try:
            record = _record(active[0], device.created_at)
        except (CertificateMalformed, CertificateKeyWeak) as error:
            outcome.refused[device.device_id] = error.title
            return
        # The chain is stored first: `register` treats a recorded certificate without a stored chain as not
        # issued.
        if not self._is_stored(device.device_id, record.serial, active[0].pem):  # 4
            outcome.refused[device.device_id] = "Another certificate is stored under the certificate's serial"
            return
        match self.records.import_device(replace(device, active=record), record):  # 5
            case None:
                outcome.imported.append(device.device_id)
            case RefusedBy.DEVICE:  # another call imported it in the meantime
                outcome.known.append(device.device_id)
            case _:
                outcome.refused[device.device_id] = KeyInUse.title

    def _full(self, device: Device, certificate: BrokerCertificate, rules: Rules) -> str | None:
        """Return why AWS IoT's limits would keep `register` from giving the device its place, or None.

        Such a device would get a record and no rights, and only an alarm would say so.
        """
        others = {each for each in self.certificates.groups(device.device_id) if not self._is_ours(each)}
        if len(others) >= THING_GROUPS:
            return f"The device's thing is in {len(others)} thing groups, and may be in {THING_GROUPS}"
        attached = {each for each in self.certificates.policies(certificate) if not self._is_ours(each)}
        due = OWN_POLICIES + len(grants_to_attach(rules, device))
        if len(attached) + due > IOT_POLICIES:
            return (
                f"The certificate has {len(attached)} policies in AWS IoT and would get {due} more;"
                f" it may have {IOT_POLICIES}"
            )
        return None

    def _is_ours(self, name: str) -> bool:
        return name.startswith(f"{self.stack}-")

    def _is_stored(self, device_id: DeviceId, serial: str, pem: str) -> bool:
        """Store a certificate, and return whether it and no other one is stored. Raises Unavailable."""
        if self.store.put(device_id, serial, pem.encode()):
            return True
        # S3 refuses a put if there is an object, and also if another put of it has not ended. That one may
        # fail after all, so the object is read.
        found = self.store.get(device_id, serial)
        if found is None:
            raise Unavailable(log=f"{device_id}'s certificate {serial} could not be stored")
        return parse_text(found.decode()).fingerprint == parse_text(pem).fingerprint

    def _active(self, device_id: DeviceId) -> list[BrokerCertificate]:
        found = (self.certificates.find(each) for each in self.certificates.of(device_id))
        return [each for each in found if each and each.status == "ACTIVE"]


def _record(certificate: BrokerCertificate, now: datetime) -> CertificateRecord:
    """Return a certificate of AWS IoT as a device's record holds it.

    Raises CertificateMalformed, CertificateKeyWeak.
    """
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
        # The device should ask for a certificate of Firstboot's own as soon as it can.
        renew_after=now,
        certificate_id=certificate.certificate_id,
        imported=True,
    )
