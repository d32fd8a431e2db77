"""Renew: an operational certificate and a CSR become the next certificate.

1. The certificate chains to our issuing CA and is valid. An expired certificate with a signed proof is
   verified as of its last day; over mTLS the gateway refuses it in the handshake. A certificate that AWS IoT
   issued before its device was imported is accepted if the device's record names it.
2. The request names no other device.
3. The CSR's key is strong and its owner signed the CSR.
4. Firstboot issued the certificate: the record has its serial and key, or it is stored. The fleet has the
   device's group, which allows the way of asking.
5. A signed proof is of the kind that the group demands. Its use is recorded.
6. A pending certificate is committed, because renewing is a login like any other.
7. The certificate is issued exactly once, if the record allows (issue.py). The present certificate keeps its
   rights until the first login with the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from firstboot.domain.claim import HOLD, Renewal
from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import Attribute, Device, committed
from firstboot.domain.errors import CertificateNotCurrent
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId, device_id
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issue, Issued
from firstboot.identity.errors import DeviceIdMismatch, EnrollmentClosed
from firstboot.identity.login import LoginRecords, check_issued, stored
from firstboot.identity.possession import Presented, Proven, Recorded, check_client_id, proof_of
from firstboot.identity.proof import Proofs, spend
from firstboot.identity.ways import check_way
from firstboot.pki import chain, csr
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import CertificateUntrusted
from firstboot.pki.profile import plan


@dataclass(frozen=True)
class Renew:
    """The use case that certifies the next key of a device with an operational certificate."""

    issue: Issue
    records: LoginRecords
    proofs: Proofs

    def __call__(
        self, presented: Presented, request: ExchangeRequest, fleet: Fleet, now: datetime
    ) -> Issued | Claimed:
        """Certify the key in the request, a new one or the same, for the calling device.

        Return the issued certificate, or Claimed if AWS failed after the intent was recorded. A repeat of the
        request returns the same certificate. Raises AuthenticationError, AuthorizationError, RequestError and
        ConflictError, and Unavailable as long as nothing is recorded.
        """
        name = self._verified(presented, now)  # 1
        if request.device_id not in (None, name):  # 2
            raise DeviceIdMismatch
        check_client_id(presented, name)
        verified = csr.verify(request.csr)  # 3
        device = self._recorded(name, presented)  # 4
        group = _group(device, fleet)
        check_way(presented.way, group)
        proof = proof_of(presented)
        # The certificate and the CSR are verified by now, so a caller without a certificate of ours can't
        # write to the table.
        spend(proof, group, self.proofs, now)  # 5
        device = self._logged_in(device, presented, now)  # 6
        asked = self._renewal(device, group, presented.leaf, request.claims, verified, now)
        return self.issue(asked, verified, group, make_known=proof is not None)  # 7

    def is_asked(self, presented: Presented) -> bool:
        """Return whether a certificate is one to renew: ours, or an imported one that a record names."""
        ca = self.issue.issuer.certificate
        return isinstance(presented, Recorded) or chain.issued_by(presented.leaf, ca)

    def _verified(self, presented: Presented, now: datetime) -> DeviceId:
        moment = min(now, presented.leaf.not_after) if isinstance(presented, Proven) else now
        leaf = chain.verified(presented.leaf, self.issue.issuer.certificate, moment)
        if leaf:
            return device_id(chain.common_name(leaf))
        if not isinstance(presented, Recorded):
            raise CertificateUntrusted
        return presented.device_id

    def _recorded(self, name: DeviceId, presented: Presented) -> Device:
        device = self.records.device(name)
        check_issued(presented.leaf, name, device, self.issue.store)
        if device is None:
            raise CertificateNotCurrent(log="no such device")
        return device

    def _logged_in(self, device: Device, presented: Presented, now: datetime) -> Device:
        pending, leaf = device.pending, presented.leaf
        is_pending = pending is not None and int(pending.serial, 16) == leaf.serial_number
        # An expired certificate can't log in, so an expired pending one is not committed.
        if not is_pending or now > leaf.not_after:
            return device
        kept = stored(presented, device.device_id, self.issue.store)
        return self.records.commit(committed(device, chain.fingerprint(kept), now), kept)

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
        imported = device.active if device.active and device.active.imported else None
        return Renewal(
            device_id=device.device_id,
            caller=f"{leaf.serial_number:x}",
            certificate=replace(certificate, held_until=moment + HOLD, claims=claims),
            now=moment,
            grace=group.certificate.grace,
            # An imported device has shown no other key of its own than that of its imported certificate.
            pin=imported.spki if imported and group.pins else None,
        )


def _group(device: Device, fleet: Fleet) -> Group:
    group = fleet.group_of(device.group)
    if group is None:
        raise EnrollmentClosed(log=f"group {device.group} is not in the fleet definition")
    return group
