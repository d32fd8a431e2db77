"""Login with an operational certificate.

1. The issuing CA signed the certificate, and it is valid. An MQTT client id is the device id.
2. Firstboot issued the certificate: its serial and key are in the device record, or it is stored. The record
   has it as the active or the pending one.
3. The device's group allows the way of asking. A signed proof is of the kind that the group demands. Its use
   is recorded.
4. A pending certificate is committed, since this login proves that the device has received it. What is
   recorded is the stored certificate, not the presented one, which may be the stored one's twin.

A certificate that AWS IoT made in fleet provisioning logs in too, over MQTT alone: AWS IoT has verified it,
and the record names it. Step 1 is then that the certificate is valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, cast

from cryptography import x509

from firstboot.domain.device import CertificateRecord, Device, committed, login
from firstboot.domain.errors import CertificateExpired, CertificateNotCurrent
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId, device_id
from firstboot.identity.connection import Issued
from firstboot.identity.errors import CertificateForged, OperationalCertificateRequired
from firstboot.identity.possession import Presented, Recorded, check_client_id, proof_of
from firstboot.identity.proof import Proofs, spend
from firstboot.identity.ways import check_way
from firstboot.pki import certificate, chain
from firstboot.pki.certificate import Certificate
from firstboot.pki.der import NotDer
from firstboot.pki.errors import CertificateNotYetValid
from firstboot.pki.signature import KeyRefused


class LoginRecords(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def commit(self, committed: Device, leaf: x509.Certificate) -> Device:
        """Write the record `committed` and the row by which a proof's thumbprint leads to `leaf`.

        One transaction writes both. A repeat changes nothing. Raises CertificateNotCurrent, DeviceRevoked.
        """


class FleetInForce(Protocol):
    """The source of the fleet definition in force."""

    def current(self, now: datetime) -> Fleet:
        """Return the definition in force at `now`. Raises Unavailable when none can be read."""


@dataclass(frozen=True)
class VerifiedIdentity:
    """A device that has logged in with its active certificate."""

    device: Device
    certificate_id: str


@dataclass(frozen=True)
class LogIn:
    """The login of devices with operational certificates. `ca` is the issuing CA's certificate."""

    ca: x509.Certificate
    records: LoginRecords
    proofs: Proofs
    issued: Issued
    fleet: FleetInForce

    def __call__(self, presented: Presented, now: datetime) -> VerifiedIdentity:
        """Return the device behind an operational certificate. The certificate's first login commits it.

        Raises AuthenticationError, OperationalCertificateRequired, DeviceIdMismatch,
        CertificateNotCurrent, CertificateForged, DeviceRevoked, WayNotAllowed, Unavailable.
        """
        name, is_ours = self._named(presented, now)  # 1
        check_client_id(presented, name)
        device = self.records.device(name)  # 2
        check_issued(presented.leaf, name, device, self.issued)
        found = login(device, f"{presented.leaf.serial_number:x}")
        record = found.pending or found.device.active
        # The certificate of an imported device may only renew.
        if not is_ours and not (record and record.provisioned):
            raise OperationalCertificateRequired
        if presented.way:
            # A connection has no way and no proof, and `presence` has no right to read the published fleet.
            group = self.fleet.current(now).group_of(found.device.group)
            check_way(presented.way, group)  # 3
            # Only after the verification: an unauthenticated request must not be able to write to the table.
            spend(proof_of(presented), group, self.proofs, now)
        if found.pending is None:
            return _identity(found.device)
        leaf = stored(presented, name, self.issued)
        now_active = committed(found.device, chain.fingerprint(leaf), now)
        return _identity(self.records.commit(now_active, leaf))  # 4

    def _named(self, presented: Presented, now: datetime) -> tuple[DeviceId, bool]:
        """Return the id of the device whose certificate is presented, and whether our CA issued it.

        Raises AuthenticationError, OperationalCertificateRequired.
        """
        leaf = chain.verified(presented.leaf, self.ca, now)
        if leaf:
            return device_id(chain.common_name(leaf)), True
        # A bootstrap certificate may be valid as well. A certificate of another CA logs in only if it is that
        # of an MQTT connection and the device's record names it.
        if not isinstance(presented, Recorded):
            raise OperationalCertificateRequired
        if now < presented.leaf.not_before:
            raise CertificateNotYetValid
        if now > presented.leaf.not_after:
            raise CertificateExpired
        return presented.device_id, False


def stored(presented: Presented, name: DeviceId, issued: Issued) -> x509.Certificate:
    """Return the operational certificate that is presented, as it was stored for the device `name`.

    An ECDSA signature has two forms (see `pki.forms`), and AWS IoT registers the stored one. It would never
    find a device's certificate by the fingerprint of the other form.
    Raises CertificateNotCurrent, CertificateForged, Unavailable.
    """
    if isinstance(presented, Recorded):
        return presented.leaf.to_cryptography()
    leaf = _stored(presented.leaf, name, issued)
    if leaf is None:
        raise CertificateNotCurrent(
            log=f"{name}'s certificate {presented.leaf.serial_number:x} is not stored"
        )
    return leaf.to_cryptography()


def check_issued(leaf: Certificate, name: DeviceId, device: Device | None, issued: Issued) -> None:
    """Refuse a certificate of our CA that Firstboot never issued to the device `name`.

    The caller has verified the certificate, so an attacker has made the CA's key sign it. `device` is the
    device's record, or None without one. A recorded serial has its recorded key: serials are no secret, and a
    check of the serial alone would let the attacker log in as any device. The certificate of any other serial
    is among the stored ones, which are kept for good, also those of a deleted device.
    Raises CertificateForged, Unavailable.
    """
    serial = f"{leaf.serial_number:x}"
    records = (device.active, device.pending, device.superseded) if device else ()
    keys = {record.spki for record in records if record and record.serial == serial}
    if keys:
        try:
            is_recorded = keys == {leaf.spki_fingerprint()}
        except (KeyRefused, NotDer):  # Firstboot certifies no such key.
            is_recorded = False
        if not is_recorded:
            raise CertificateForged(log=f"{name}'s certificate {serial} has another key")
    elif _stored(leaf, name, issued) is None:
        raise CertificateForged(log=f"{name}'s certificate {serial} was never issued")


def _stored(leaf: Certificate, name: DeviceId, issued: Issued) -> Certificate | None:
    """Return the stored certificate of the device with the serial of `leaf`; None if there is none.

    Raises CertificateForged if it is another than `leaf`, and Unavailable.
    """
    serial = f"{leaf.serial_number:x}"
    pem = issued.get(name, serial)
    if pem is None:
        return None
    found = certificate.parse_text(pem.decode())
    if found.identifier != leaf.identifier:
        raise CertificateForged(log=f"{name}'s stored certificate {serial} is another")
    return found


def _identity(device: Device) -> VerifiedIdentity:
    active = cast("CertificateRecord", device.active)
    return VerifiedIdentity(device, cast("str", active.certificate_id))
