"""The five ports of the use cases. A method is one domain step, and one AWS call where AWS lets it.

Signing needs no port: `cryptography`'s `EllipticCurvePrivateKey` is one, with KMS behind it.
Every method raises Unavailable when AWS does not do its part.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal, Protocol

from cryptography import x509

from firstboot.domain.aws_iot import BrokerCertificate, CertificateStatus
from firstboot.domain.claim import ClaimRefused, RefusedBy, Spent
from firstboot.domain.device import Attribute, CertificateRecord, Device, Enrollment, Limits, Renewal
from firstboot.domain.names import DeviceId
from firstboot.domain.proof_id import ProofId
from firstboot.domain.session import Credentials, SessionRequest


class Registry(Protocol):
    """The devices' records, and what proofs need beside them."""

    def claim(self, asked: Enrollment | Renewal) -> ClaimRefused | None:
        """Record the intent to certify, or say what stands against it; all or nothing."""

    def freeze(self, group: str, limits: Limits, now: datetime) -> None:
        """Take no enrollments of the group until someone thaws it; repeating it changes nothing."""

    def device(self, device_id: DeviceId) -> Device | None:
        """The record, read consistently."""

    def commit(self, committed: Device, leaf: x509.Certificate) -> Device:
        """Write what `lifecycle.committed` decided, and make the certificate known by its
        thumbprint; repeating it changes nothing.

        Raises CertificateNotCurrent, DeviceRevoked.
        """

    def spend(self, proof: ProofId) -> bool:
        """Take note that a proof is used; False if it already was."""

    def make_known(self, leaf: x509.Certificate) -> None:
        """Make a certificate of ours known by its thumbprint; repeating it changes nothing."""

    def certificate(self, thumbprint: str) -> x509.Certificate | None:
        """The certificate of ours with that SHA-256 (hex), once it was made known."""

    def nonce_key(self, day: date) -> bytes:
        """Return the key of the nonces made on `day` (UTC), the same in every process."""


class OperatorRegistry(Registry, Protocol):
    """The same records, with what only an operator does to them."""

    def page(
        self, limit: int, after: str | None, enrolled_by: str | None = None
    ) -> tuple[list[Device], str | None]:
        """Some records (about `limit`, in no order) and where the next page starts, if any; with
        `enrolled_by`, those that this bootstrap certificate (its SHA-256, hex) enrolled.
        """

    def expect(
        self, group: str, devices: dict[DeviceId, dict[str, Attribute]], now: datetime
    ) -> list[DeviceId]:
        """Name devices of a group, with their attributes, before they come. One that is there
        already keeps its record. Returns those that belong to another group.
        """

    def spent(self, group: str, limits: Limits) -> Spent:
        """How much of a group's budget is used up."""

    def thaw(self, group: str, limits: Limits) -> None:
        """Let a frozen group take enrollments again."""

    def revoke(self, device_id: DeviceId, now: datetime) -> Device:
        """Take the device's rights for good; repeating it changes nothing.

        Raises DeviceNotFound.
        """

    def adopt(self, device: Device, active: CertificateRecord) -> RefusedBy | None:
        """Write the first record of a device that is in AWS IoT with the certificate `active`, or say
        what stands against it (DEVICE: it has a record; KEY); all or nothing.
        """

    def delete(self, device_id: DeviceId, now: datetime) -> Device:
        """Take the device's rights, and have its record go once AWS IoT knows nothing of it any
        more; repeating it changes nothing.

        Raises DeviceNotFound.
        """

    def set_attributes(
        self, device_id: DeviceId, changes: dict[str, Attribute | None], now: datetime
    ) -> Device:
        """Set attributes; None removes one.

        Raises DeviceNotFound.
        """


class RegisteringRegistry(Registry, Protocol):
    """The same records, with what is noted of AWS IoT."""

    def note(self, read: Device, registered: frozenset[str], attached: frozenset[str]) -> bool:
        """Write down what AWS IoT was brought to, if the record still is as it was `read`; else False."""

    def forget(self, device_id: DeviceId) -> None:
        """Remove the record of a deleted device; repeating it changes nothing."""


class CertificateStore(Protocol):
    """The issued certificates: what is here has been issued."""

    def put(self, device_id: DeviceId, serial: str, chain: bytes) -> bool:
        """Store `chain` (PEM) unless there is one; True if this call stored it."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """The stored chain (PEM), or None if the certificate has not been issued."""

    def url(self, device_id: DeviceId, serial: str, seconds: int) -> str:
        """A presigned URL of the chain, good for `seconds`. Local; calls nothing."""

    def issued(self, device_id: DeviceId) -> list[bytes]:
        """Every chain (PEM) that was ever issued to the device."""


class Sts(Protocol):
    """The maker of sessions."""

    def assume(self, request: SessionRequest) -> Credentials:
        """A session of the role.

        Raises RoleNotAssumable, DurationTooLong, SessionPolicyTooLarge.
        """


class Things(Protocol):
    """AWS IoT's registry: a device's thing, its certificates (by id) and their policies. Every method
    may be repeated, and takes what is not there for what is gone already.
    """

    def ensure(self, device_id: DeviceId, group: str, attributes: dict[str, str]) -> None:
        """Have the device's thing, in its group and no other of ours, with exactly these attributes."""

    def begin_shadow(self, device_id: DeviceId, desired: dict[str, Any]) -> None:
        """Give the thing its first shadow; one that is there is left alone."""

    def certificates(self, device_id: DeviceId) -> frozenset[str]:
        """The certificates attached to the thing, ours or not; none if there is no thing."""

    def register(self, leaf: x509.Certificate) -> None:
        """Make a certificate known, INACTIVE."""

    def attach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Make a certificate the thing's."""

    def detach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Make a certificate the thing's no more."""

    def set_policies(self, certificate_id: str, documents: dict[str, str]) -> None:
        """Have exactly these of our policies (name to JSON) on a certificate, whatever others it has.
        What is too much goes before what is missing comes; a policy that AWS IoT lacks is made.

        Raises PoliciesTooLarge.
        """

    def set_status(self, certificate_id: str, status: CertificateStatus) -> None:
        """Have a certificate in this status."""

    def disconnect(self, device_id: DeviceId) -> None:
        """End the device's open connection, and its session with it."""

    def delete_certificate(self, certificate_id: str) -> None:
        """Delete a certificate that is not ACTIVE, and is no thing's."""

    def delete(self, device_id: DeviceId) -> None:
        """Delete the thing, which no certificate is attached to any more, and its shadow."""


class BrokerCertificates(Protocol):
    """The certificates that AWS IoT knows, and so what may connect to the broker."""

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """The certificate with that id, if there is one."""

    def of(self, device_id: DeviceId) -> list[str]:
        """The ids of the certificates that the device's thing has; none if there is no thing."""

    def attach(self, certificate: BrokerCertificate, policy: str, document: str) -> None:
        """Give the certificate the policy of that name; if there is none it is made, to say `document`
        (JSON). Repeating it changes nothing.
        """

    def set_status(self, certificate: BrokerCertificate, status: Literal["ACTIVE", "REVOKED"]) -> None:
        """Change the certificate's status; repeating it changes nothing."""
