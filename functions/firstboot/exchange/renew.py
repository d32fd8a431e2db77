"""Renew: an operational certificate and a CSR become the next certificate.

1. The certificate chains to our issuing CA and is valid. An expired one counts as it did on its last
   day if it comes with a signed proof: the gateway refuses it in the handshake. A certificate that AWS
   IoT issued before the device was imported counts if the device's record names it.
2. The device calls itself nothing else.
3. The CSR's key is strong and its owner signed it.
4. A signed proof is spent.
5. The certificate has the key that the record has under its serial. A pending certificate is committed:
   this is a login like any other.
6. The record decides, and the certificate is issued exactly once (issue.py). The present certificate
   stays as it is until the next one's first login.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import HOLD, Attribute, Device, Renewal, committed
from firstboot.domain.errors import CertificateNotCurrent
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId, device_id
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issue, Issued
from firstboot.identity.errors import DeviceIdMismatch, EnrollmentClosed, OperationalCertificateRequired
from firstboot.identity.login import LoginRecords
from firstboot.identity.possession import Presented, Proven, Recorded, check_client_id, check_key, proof_of
from firstboot.identity.proof import Proofs, spend
from firstboot.pki import chain, csr
from firstboot.pki.certificate import Certificate
from firstboot.pki.profile import plan


@dataclass(frozen=True)
class Renew:
    """Certify the next key of a device that presents its operational certificate."""

    issue: Issue
    records: LoginRecords
    proofs: Proofs

    def __call__(
        self, presented: Presented, request: ExchangeRequest, fleet: Fleet, now: datetime
    ) -> Issued | Claimed:
        """Certify the key in the request, a new one or the same, for the device that is calling.

        Raises AuthenticationError, AuthorizationError, RequestError, ConflictError and, while nothing
        is recorded, Unavailable.
        """
        name = self._verified(presented, now)  # 1
        if request.device_id not in (None, name):  # 2
            raise DeviceIdMismatch
        check_client_id(presented, name)
        verified = csr.verify(request.csr)  # 3
        proof = proof_of(presented)
        spend(proof, self.proofs)  # 4
        device = self._logged_in(self.records.device(name), presented, now)  # 5
        group = _group(device, fleet)
        asked = self._renewal(device, group, presented.leaf, request.claims, verified, now)
        return self.issue(asked, verified, group, make_known=proof is not None)  # 6

    def is_asked(self, presented: Presented) -> bool:
        """Return whether a certificate is one to renew: ours, or an imported one that a record names."""
        return isinstance(presented, Recorded) or self._issued(presented) is not None

    def _issued(self, presented: Presented) -> x509.Certificate | None:
        return chain.issued(presented.leaf, self.issue.issuer.certificate)

    def _verified(self, presented: Presented, now: datetime) -> DeviceId:
        leaf = self._issued(presented)
        if isinstance(presented, Recorded) and leaf is None:
            return presented.device_id
        if leaf is None:
            raise OperationalCertificateRequired
        moment = min(now, leaf.not_valid_after_utc) if isinstance(presented, Proven) else now
        chain.verify(leaf, self.issue.issuer.certificate, moment)
        return device_id(chain.common_name(leaf))

    def _logged_in(self, device: Device | None, presented: Presented, now: datetime) -> Device:
        if device is None:
            raise CertificateNotCurrent(log="no such device")
        check_key(presented.leaf, device)
        pending, leaf = device.pending, self._issued(presented)
        is_pending = leaf and pending and int(pending.serial, 16) == leaf.serial_number
        if not leaf or not is_pending or now > leaf.not_valid_after_utc:
            return device
        return self.records.commit(committed(device, chain.fingerprint(leaf), now), leaf)

    def _renewal(
        self,
        device: Device,
        group: Group,
        leaf: Certificate,
        claims: dict[str, Attribute] | None,
        verified: csr.VerifiedCsr,
        now: datetime,
    ) -> Renewal:
        ca, moment = self.issue.issuer.certificate, whole_seconds(now)
        certificate = plan(verified.spki, x509.random_serial_number(), group.certificate, ca, moment)
        return Renewal(
            device_id=device.device_id,
            caller=f"{leaf.serial_number:x}",
            certificate=replace(certificate, held_until=moment + HOLD),
            claims=claims,
            now=moment,
            grace=group.certificate.grace,
        )


def _group(device: Device, fleet: Fleet) -> Group:
    group = fleet.groups.get(device.group)
    if group is None:
        raise EnrollmentClosed(log=f"{device.group} is not in the fleet definition")
    return group
