"""Withdraw: certificates lose their place in AWS IoT.

A certificate that is *over* becomes INACTIVE, loses our policies, and is detached from the thing. The
detachment is the last step, so that what a crash left half done is still the thing's, and is found by that.

Of a *revoked* device every certificate, first, becomes REVOKED; then its connection ends, and cannot
come back; then our policies go.

Of a *deleted* device nothing is left: its certificates are REVOKED and detached, then deleted, then its
shadow and its thing; its record goes last, so that the same message again finds what is left to do.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from firstboot.domain.aws_iot import CertificateStatus
from firstboot.domain.device import Device
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId
from firstboot.pki import chain

NONE: frozenset[str] = frozenset()


class Records(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def note(self, read: Device, registered: frozenset[str], attached: frozenset[str]) -> bool:
        """Write down what AWS IoT was brought to, if the record still is as it was `read`; else False."""

    def forget(self, device_id: DeviceId) -> None:
        """Remove the record of a deleted device; repeating it changes nothing."""


class IssuedCertificates(Protocol):
    """The issued certificates."""

    def issued(self, device_id: DeviceId) -> list[bytes]:
        """Return every chain (PEM) that was ever issued to the device. Raises Unavailable."""


class Things(Protocol):
    """The things of the AWS IoT registry.

    Every method may be repeated, takes a missing thing for one that is gone already, and raises
    Unavailable when AWS does not answer.
    """

    def certificates(self, device_id: DeviceId) -> frozenset[str]:
        """Return the ids of the certificates attached to the thing, ours or not; none without a thing."""

    def detach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Detach a certificate from the thing."""

    def disconnect(self, device_id: DeviceId) -> None:
        """End the device's open connection, and its session with it."""

    def delete(self, device_id: DeviceId) -> None:
        """Delete the thing, which no certificate is attached to any more, and its shadow."""


class Certificates(Protocol):
    """The certificates of the AWS IoT registry, by id. The same holds for every method."""

    def set_status(self, certificate_id: str, status: CertificateStatus) -> None:
        """Set a certificate's status."""

    def set_policies(self, certificate_id: str, documents: dict[str, str]) -> None:
        """Attach exactly these of our policies (name to JSON); policies of others stay."""

    def delete_certificate(self, certificate_id: str) -> None:
        """Delete a certificate that is not ACTIVE, and is attached to no thing."""


@dataclass(frozen=True)
class Outcome:
    """What was done to a device in AWS IoT; certificates by id.

    `unnamed` says that AWS IoT takes no thing of this name, so that the device has no place there.
    """

    activated: frozenset[str] = NONE
    retired: frozenset[str] = NONE
    revoked: frozenset[str] = NONE
    deleted: bool = False
    unnamed: bool = False


@dataclass(frozen=True)
class Withdraw:
    """Take a device's certificates their place in AWS IoT."""

    records: Records
    store: IssuedCertificates
    things: Things
    certificates: Certificates

    def over(self, device: Device, there: AbstractSet[str], kept: AbstractSet[str]) -> frozenset[str]:
        """Return the device's certificates that are to go.

        They are noted as registered, or still attached to the thing (`there`) and issued by us, and not
        among those that are `kept`. Certificates from elsewhere are not ours to take.
        """
        unknown = there - device.registered - kept
        ours = unknown & self._issued(device) if unknown else NONE
        return frozenset((device.registered | ours) - kept)

    def retire(self, device: Device, certificates: frozenset[str]) -> None:
        """Take some of a device's certificates their place."""
        for certificate in sorted(certificates):
            self.certificates.set_status(certificate, "INACTIVE")
            self.certificates.set_policies(certificate, {})
            self.things.detach(device.device_id, certificate)

    def revoke(self, device: Device, group: Group | None) -> Outcome | None:
        """Take everything from a revoked device; None if its record changed meanwhile."""
        revoked = self._revoked(device, group)
        self.things.disconnect(device.device_id)
        for certificate in sorted(revoked):
            self.certificates.set_policies(certificate, {})
        return Outcome(revoked=revoked) if self.records.note(device, NONE, NONE) else None

    def delete(self, device: Device, group: Group | None) -> Outcome:
        """Leave nothing of a deleted device."""
        device_id = device.device_id
        revoked = self._revoked(device, group)
        self.things.disconnect(device_id)
        for certificate in sorted(self.things.certificates(device_id) | revoked):
            self.things.detach(device_id, certificate)
        for certificate in sorted(revoked):
            self.certificates.set_policies(certificate, {})
            self.certificates.delete_certificate(certificate)
        self.things.delete(device_id)
        self.records.forget(device_id)
        return Outcome(revoked=revoked, deleted=True)

    def _revoked(self, device: Device, group: Group | None) -> frozenset[str]:
        """Set every certificate that the device ever had from us, and its own bootstrap one, to REVOKED."""
        certificates = device.registered | self._issued(device)
        if device.enrolled_by and group and not group.is_shared:
            certificates |= {device.enrolled_by}
        for certificate in sorted(certificates):
            self.certificates.set_status(certificate, "REVOKED")
        return certificates

    def _issued(self, device: Device) -> frozenset[str]:
        leaves = [chain.parse(pem.decode()) for pem in self.store.issued(device.device_id)]
        return frozenset(map(chain.fingerprint, leaves))
