"""Bringing an existing fleet: a device that AWS IoT knows, with its certificate, gets a record here. From
then on it renews like one of ours.

1. The group is there, its devices have certificates in AWS IoT, and every attribute fits the schema:
   else nothing is done.
2. A device that has a record keeps it, and costs AWS IoT nothing: a list may be sent again.
3. Its thing has exactly one ACTIVE certificate, with a key of a kind we certify.
4. The certificate goes to where ours are; then
5. the record is written, with the key, which belongs to this device from now on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from firstboot.domain.aws_iot import BrokerCertificate
from firstboot.domain.claim import RefusedBy
from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import Attribute, CertificateRecord, Device, Status
from firstboot.domain.errors import CertificateKeyWeak, CertificateMalformed, KeyInUse, MalformedRequest
from firstboot.domain.names import DeviceId
from firstboot.domain.ports import BrokerCertificates, CertificateStore, OperatorRegistry
from firstboot.operate.groups import check, find
from firstboot.pki import chain, csr
from firstboot.policy.rules import Rules


@dataclass
class Adopted:
    """What became of the devices: `refused` says why, for a person."""

    imported: list[DeviceId] = field(default_factory=list)
    known: list[DeviceId] = field(default_factory=list)
    refused: dict[DeviceId, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ports:
    """What adoption works on."""

    certificates: BrokerCertificates
    registry: OperatorRegistry
    store: CertificateStore


def adopt(
    group: str, devices: dict[DeviceId, dict[str, Attribute]], rules: Rules, ports: Ports, now: datetime
) -> Adopted:
    """Give devices of AWS IoT their records, in a group and with their attributes.

    Raises GroupNotFound, MalformedRequest, AttributesInvalid, Unavailable.
    """
    if find(group, rules.fleet).mqtt != "registry":  # 1
        raise MalformedRequest("The group's devices have no certificates in AWS IoT (mqtt)")
    moment = whole_seconds(now)
    records = [
        Device(each, group, Status.ENROLLED, 0, moment, moment, attributes=attributes)
        for each, attributes in devices.items()
    ]
    for record in records:
        check(record, rules)
    adopted = Adopted()
    for record in records:
        _adopt(record, ports, adopted)
    return adopted


def _adopt(device: Device, ports: Ports, adopted: Adopted) -> None:
    if ports.registry.device(device.device_id):  # 2
        adopted.known.append(device.device_id)
        return
    active = _active(device.device_id, ports.certificates)  # 3
    if len(active) != 1:
        count = len(active) or "no"
        adopted.refused[device.device_id] = f"Its thing has {count} ACTIVE certificates in AWS IoT"
        return
    try:
        record = _record(active[0], device.created_at)
    except (CertificateMalformed, CertificateKeyWeak) as error:
        adopted.refused[device.device_id] = error.title
        return
    ports.store.put(device.device_id, record.serial, active[0].pem.encode())  # 4
    match ports.registry.adopt(replace(device, active=record), record):  # 5
        case None:
            adopted.imported.append(device.device_id)
        case RefusedBy.DEVICE:  # somebody else was here meanwhile
            adopted.known.append(device.device_id)
        case _:
            adopted.refused[device.device_id] = KeyInUse.title


def _active(device_id: DeviceId, certificates: BrokerCertificates) -> list[BrokerCertificate]:
    found = (certificates.find(each) for each in certificates.of(device_id))
    return [each for each in found if each and each.status == "ACTIVE"]


def _record(certificate: BrokerCertificate, now: datetime) -> CertificateRecord:
    """Raises CertificateMalformed, CertificateKeyWeak."""
    leaf = chain.parse(certificate.pem)
    key = leaf.public_key()
    if not chain.key_is_strong(key):
        raise CertificateKeyWeak(log=repr(key))
    return CertificateRecord(
        serial=f"{leaf.serial_number:x}",
        spki=csr.certificate_spki(leaf),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        renew_after=now,
        certificate_id=certificate.certificate_id,
        imported=True,
    )
