"""Issuing a certificate exactly once. The numbered steps of docs/issuance.md.

1. Claim: the intent is recorded in the registry, all or nothing.
2. Sign: the CA key signs the TBS rebuilt from the *recorded* intent.
3. Store: the chain is put where there is none. This is the commit point.

A repeat of a finished enrollment fails step 1 and finds the chain; of an unfinished one, it
finds none and goes on with step 2. Of two that race, one puts; the other answers with that.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.errors import (
    EnrollmentBudgetSpent,
    EnrollmentRateExceeded,
    KeyInUse,
    Unavailable,
)
from firstboot.lifecycle import CertificateRecord, Enrollment, enrolls_anew
from firstboot.pki.csr import VerifiedCsr
from firstboot.pki.profile import Issuer, operational_certificate
from firstboot.ports import CertificateStore, ClaimRefused, Limits, RefusedBy, Registry


@dataclass(frozen=True)
class Issued:
    """A certificate that is stored. `chain` is PEM: the leaf, then the issuing CA."""

    record: CertificateRecord
    chain: bytes

    @property
    def certificates(self) -> list[x509.Certificate]:
        """The chain, parsed."""
        return x509.load_pem_x509_certificates(self.chain)


@dataclass(frozen=True)
class Claimed:
    """The intent is recorded, but AWS did not sign or store: the same request goes on from here."""

    record: CertificateRecord


def issue(
    enrollment: Enrollment,
    csr: VerifiedCsr,
    limits: Limits | None,
    issuer: Issuer,
    registry: Registry,
    store: CertificateStore,
) -> Issued | Claimed:
    """Issue what `enrollment` asks for, or find what was issued before.

    Raises DeviceRevoked, GroupMismatch, EnrollmentInProgress, AlreadyEnrolled, KeyInUse,
    EnrollmentBudgetSpent, EnrollmentRateExceeded, and Unavailable while nothing is recorded.
    """
    refused = registry.claim(enrollment, limits)  # 1
    record = recorded(refused, enrollment) if refused else enrollment.certificate
    try:
        stored = store.get(enrollment.device_id, record.serial) if refused else None
        return Issued(record, stored or _sign_and_store(enrollment, record, csr, issuer, store))
    except Unavailable:
        return Claimed(record)


def recorded(refused: ClaimRefused, enrollment: Enrollment) -> CertificateRecord:
    """The certificate a refused claim's row already holds for this request.

    Raises the refusal where there is none.
    """
    match refused.by:
        case RefusedBy.DEVICE:
            known = enrolls_anew(refused.device, enrollment)
            if known is None:
                raise Unavailable(log="the row changed between condition and answer")
            return known
        case RefusedBy.KEY:
            raise KeyInUse
        case RefusedBy.TOTAL:
            raise EnrollmentBudgetSpent
        case RefusedBy.RATE:
            raise EnrollmentRateExceeded(retry_after=60 - enrollment.now % 60)


def _sign_and_store(
    enrollment: Enrollment,
    record: CertificateRecord,
    csr: VerifiedCsr,
    issuer: Issuer,
    store: CertificateStore,
) -> bytes:
    leaf = operational_certificate(issuer, enrollment.device_id, csr.public_key, record)  # 2
    chain = leaf.public_bytes(Encoding.PEM) + issuer.pem
    if store.put(enrollment.device_id, record.serial, chain):  # 3
        return chain
    winner = store.get(enrollment.device_id, record.serial)
    if winner is None:
        raise Unavailable(log="a certificate was stored and is gone")
    return winner
