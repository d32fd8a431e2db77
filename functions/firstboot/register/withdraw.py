"""Withdraw: take from devices and certificates what they have in AWS IoT.

A certificate that is *over* becomes INACTIVE, loses our policies and is detached from the thing. It is not
deleted, because an operator may look for it. The detachment is the last step: what a crash left half done is
still attached to the thing, and is found there.

Of a *revoked* device, every certificate becomes REVOKED first. Then its connection ends, and can't come back.
Then the certificates lose our policies.

Of a *deleted* device nothing is left. Its certificates become REVOKED, are detached and deleted; then its
shadow and its thing are deleted. Its record is removed last, because it says what is left to do when the
message is delivered again.
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
        """Write the reconciled state if the record still is as it was `read`, and return whether it was."""

    def forget(self, device_id: DeviceId) -> None:
        """Remove the record of a deleted device. A repeat changes nothing."""


class IssuedCertificates(Protocol):
    """The issued certificates."""

    def issued(self, device_id: DeviceId) -> list[bytes]:
        """Return every chain (PEM) that was ever issued to the device. Raises Unavailable."""


class Things(Protocol):
    """The things of the AWS IoT registry.

    Every method may be repeated, treats a missing thing as one that is gone already, and raises Unavailable
    when AWS does not answer.
    """

    def certificates(self, device_id: DeviceId) -> frozenset[str]:
        """Return the ids of all certificates attached to the thing, ours or not; none without a thing."""

    def detach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Detach a certificate from the thing."""

    def disconnect(self, device_id: DeviceId) -> None:
        """End the device's connection and its session."""

    def delete(self, device_id: DeviceId) -> None:
        """Delete the thing and its shadow. No certificate may be attached to it any more."""


class Certificates(Protocol):
    """The certificates of the AWS IoT registry, by id.

    Every method may be repeated, and raises Unavailable when AWS does not answer. A missing certificate
    counts as one that has lost its rights already.
    """

    def set_status(self, certificate_id: str, status: CertificateStatus) -> None:
        """Set a certificate's status."""

    def set_policies(self, certificate_id: str, documents: dict[str, str]) -> None:
        """Attach exactly these of our policies (name to JSON). Policies of others stay."""

    def delete_certificate(self, certificate_id: str) -> None:
        """Delete a certificate that is not ACTIVE and not attached to a thing."""


@dataclass(frozen=True)
class Outcome:
    """The changes that were made to a device in AWS IoT; certificates are given by id.

    `unnamed` says that AWS IoT takes no thing of this name, so that the device has no place there. `rest` is
    where the work on the device's former certificates continues; None if it is done.
    """

    activated: frozenset[str] = NONE
    retired: frozenset[str] = NONE
    revoked: frozenset[str] = NONE
    deleted: bool = False
    unnamed: bool = False
    rest: str | None = None


@dataclass(frozen=True)
class Withdraw:
    """The use case that takes from devices and certificates what they have in AWS IoT."""

    records: Records
    store: IssuedCertificates
    things: Things
    certificates: Certificates

    def over(self, device: Device, there: AbstractSet[str], kept: AbstractSet[str]) -> frozenset[str]:
        """Return the ids of the device's certificates that must be withdrawn.

        They are those that the record notes as registered, and those that are attached to the thing (`there`)
        and were issued by us, without those that are `kept`.
        """
        unknown = there - device.registered - kept
        # Certificates that another party attached to the thing are not ours to withdraw.
        ours = unknown & self._issued(device) if unknown else NONE
        return frozenset((device.registered | ours) - kept)

    def retire(self, device: Device, certificates: frozenset[str]) -> None:
        """Deactivate certificates, take our policies from them, and detach them from the device's thing."""
        for certificate in sorted(certificates):
            self.certificates.set_status(certificate, "INACTIVE")
            self.certificates.set_policies(certificate, {})
            self.things.detach(device.device_id, certificate)

    def revoke(self, device: Device, group: Group | None) -> Outcome | None:
        """Revoke everything that a revoked device has; return None if its record changed in the meantime."""
        revoked = self._revoked(device, group)
        # The certificates are REVOKED by now, so the device can't connect again.
        self.things.disconnect(device.device_id)
        for certificate in sorted(revoked):
            self.certificates.set_policies(certificate, {})
        return Outcome(revoked=revoked) if self.records.note(device, NONE, NONE) else None

    def delete(self, device: Device, group: Group | None) -> Outcome:
        """Remove everything that AWS IoT has of a deleted device, and its record last.

        Until the record is removed, the device can't enroll again: it could meet what is left of its last
        life.
        """
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
        """Set every certificate that the device ever had from us to REVOKED; return their ids.

        Its own bootstrap certificate is among them, a claim certificate that other devices share is not.
        """
        certificates = device.registered | self._issued(device)
        if group and not group.is_shared:
            # AWS IoT may know the bootstrap certificate too (JITR), in each of its forms.
            certificates |= device.bootstrap_ids
        for certificate in sorted(certificates):
            self.certificates.set_status(certificate, "REVOKED")
        return certificates

    def _issued(self, device: Device) -> frozenset[str]:
        leaves = [chain.parse(pem.decode()) for pem in self.store.issued(device.device_id)]
        return frozenset(map(chain.fingerprint, leaves))
