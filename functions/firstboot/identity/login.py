"""Login: an operational certificate becomes a verified identity.

1. The certificate chains to our issuing CA and is valid; a signed proof is spent. An MQTT
   connection has the device's id for its client id.
2. The device's record has it as the active certificate, or the pending one: by its serial and its key.
3. A pending certificate is committed: this login proves that the device has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography import x509

from firstboot.domain.device import Device, committed, login
from firstboot.domain.names import DeviceId, device_id
from firstboot.identity.errors import OperationalCertificateRequired
from firstboot.identity.possession import Presented, check_client_id, check_key, proof_of
from firstboot.identity.proof import Proofs, spend
from firstboot.pki import chain


class LoginRecords(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def commit(self, committed: Device, leaf: x509.Certificate) -> Device:
        """Write what `domain.device.committed` decided, and make the certificate known by its thumbprint.

        Repeating it changes nothing. Raises CertificateNotCurrent, DeviceRevoked.
        """


@dataclass(frozen=True)
class VerifiedIdentity:
    """A device that has proved itself with a certificate that is its own now."""

    device: Device
    certificate_id: str


@dataclass(frozen=True)
class LogIn:
    """Verify the identity behind an operational certificate. `ca` is the issuing CA's certificate."""

    ca: x509.Certificate
    records: LoginRecords
    proofs: Proofs

    def __call__(self, presented: Presented, now: datetime) -> VerifiedIdentity:
        """Return the identity behind an operational certificate; its first use commits the certificate.

        Raises AuthenticationError, OperationalCertificateRequired, DeviceIdMismatch,
        CertificateNotCurrent, CertificateForged, DeviceRevoked, Unavailable.
        """
        leaf = chain.issued(presented.leaf, self.ca)
        if leaf is None:
            # A certificate of any other issuer is no identity here, however valid it is.
            raise OperationalCertificateRequired
        chain.verify(leaf, self.ca, now)  # 1
        spend(proof_of(presented), self.proofs)
        certificate_id = chain.fingerprint(leaf)
        name = device_id(chain.common_name(leaf))
        check_client_id(presented, name)
        device = self.records.device(name)  # 2
        if device:
            check_key(presented.leaf, device)
        found = login(device, f"{leaf.serial_number:x}")
        if found.pending is None:
            return VerifiedIdentity(found.device, certificate_id)
        now_active = committed(found.device, certificate_id, now)
        return VerifiedIdentity(self.records.commit(now_active, leaf), certificate_id)  # 3
