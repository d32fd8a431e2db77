"""Issue a certificate exactly once. The numbered steps of docs/issuance.md.

1. Claim: the intent is recorded in the device record, all or nothing.
2. Sign: the CA key signs the TBS rebuilt from the *recorded* intent.
3. Store: the chain is put where there is none. This is the commit point.

A repeat of a finished request fails step 1 and finds the chain; a repeat of an unfinished one finds none
and goes on with step 2. Of two that race, one puts; the other answers with what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain.claim import ClaimRefused, RefusedBy
from firstboot.domain.clock import epoch
from firstboot.domain.device import Attribute, CertificateRecord, Enrollment, Limits, Renewal, answer_to
from firstboot.domain.errors import FirstbootError, KeyInUse, Unavailable
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId
from firstboot.exchange.errors import (
    EnrollmentBudgetSpent,
    EnrollmentFrozen,
    EnrollmentRateExceeded,
    ReenrollmentRateExceeded,
)
from firstboot.pki import chain
from firstboot.pki.csr import UnverifiedCsr, VerifiedCsr
from firstboot.pki.profile import Issuer, operational_certificate

FROZEN_SECONDS = 3_600
"""When a device of a frozen group asks again: thawing is a person's work."""


class Claims(Protocol):
    """The claims in the device records. Every method raises Unavailable when AWS does not answer."""

    def claim(self, asked: Enrollment | Renewal) -> ClaimRefused | None:
        """Record the intent to certify, or return what stands against it; all or nothing."""

    def freeze(self, group: str, limits: Limits, now: datetime) -> None:
        """Take no enrollments of the group until an operator thaws it; repeating it changes nothing."""

    def make_known(self, leaf: x509.Certificate) -> None:
        """Make a certificate of ours known by its thumbprint; repeating it changes nothing."""


class CertificateStore(Protocol):
    """The issued certificates. Every method raises Unavailable when AWS does not answer."""

    def put(self, device_id: DeviceId, serial: str, chain: bytes) -> bool:
        """Store `chain` (PEM) unless there is one; True if this call stored it."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None if the certificate has not been issued."""


@dataclass(frozen=True)
class ExchangeRequest:
    """What a device sends. `device_id` and `claims` are what it says of itself."""

    csr: UnverifiedCsr
    device_id: str | None = None
    claims: dict[str, Attribute] | None = None


@dataclass(frozen=True)
class Issued:
    """A stored certificate of a device of `group`.

    `chain` is PEM: the leaf, then the issuing CA. `registered` are the ids of the device's certificates
    that are ACTIVE in AWS IoT. `by` is how the device asked.
    """

    device_id: DeviceId
    record: CertificateRecord
    chain: bytes
    group: Group
    registered: frozenset[str]
    by: Literal["enroll", "renew"]

    @property
    def certificates(self) -> list[x509.Certificate]:
        """The chain, parsed."""
        return x509.load_pem_x509_certificates(self.chain)

    @property
    def ready(self) -> bool:
        """Whether the device may connect to AWS IoT's broker now."""
        return self.group.is_connectable(chain.fingerprint(self.certificates[0]), self.registered)


@dataclass(frozen=True)
class Claimed:
    """A recorded intent that AWS did not sign or store yet: the same request goes on from here.

    `reason` is for the log.
    """

    device_id: DeviceId
    record: CertificateRecord
    reason: str | None


@dataclass(frozen=True)
class Issue:
    """Issue what is asked, or find what was issued before."""

    issuer: Issuer
    claims: Claims
    store: CertificateStore

    def __call__(
        self, asked: Enrollment | Renewal, csr: VerifiedCsr, group: Group, *, make_known: bool
    ) -> Issued | Claimed:
        """Issue what is asked for a device of `group`.

        `make_known` says that the caller can't use client TLS, so that its new certificate must be known
        by its thumbprint before its first login.
        Raises what domain.device.answer_to does, KeyInUse, EnrollmentFrozen, LimitError, and Unavailable
        while nothing is recorded.
        """
        refused = self.claims.claim(asked)  # 1
        record = self._recorded(refused, asked) if refused else asked.certificate
        try:
            stored = self.store.get(asked.device_id, record.serial) if refused else None
            pem = stored or self._sign_and_store(asked.device_id, record, csr)
            known = refused.device.registered if refused and refused.device else frozenset()
            by: Literal["enroll", "renew"] = "renew" if isinstance(asked, Renewal) else "enroll"
            issued = Issued(asked.device_id, record, pem, group, known, by)
            if make_known:
                self.claims.make_known(issued.certificates[0])
        except Unavailable as error:
            return Claimed(asked.device_id, record, error.log)
        return issued

    def _recorded(self, refused: ClaimRefused, asked: Enrollment | Renewal) -> CertificateRecord:
        """Return the certificate that the row of a refused claim already holds for this request.

        Raises the refusal where there is none.
        """
        if refused.by is RefusedBy.DEVICE:
            known = answer_to(refused.device, asked)
            if known is None:
                raise Unavailable(log="the row changed between condition and answer")
            return known
        if refused.by is RefusedBy.THRESHOLD and isinstance(asked, Enrollment) and asked.limits:
            self.claims.freeze(asked.group, asked.limits, asked.now)
            raise EnrollmentFrozen(log=f"{asked.group} frozen", retry_after=FROZEN_SECONDS)
        raise _refusal(refused.by, asked.now)

    def _sign_and_store(self, device_id: DeviceId, record: CertificateRecord, csr: VerifiedCsr) -> bytes:
        leaf = operational_certificate(self.issuer, device_id, csr.public_key, record)  # 2
        pem = leaf.public_bytes(Encoding.PEM) + self.issuer.pem
        if self.store.put(device_id, record.serial, pem):  # 3
            return pem
        winner = self.store.get(device_id, record.serial)
        if winner is None:
            raise Unavailable(log="a certificate was stored and is gone")
        return winner


def _refusal(by: RefusedBy, now: datetime) -> FirstbootError:
    """Return the error for a claim that another row than the device's refused."""
    match by:
        case RefusedBy.KEY:
            return KeyInUse()
        case RefusedBy.TOTAL:
            return EnrollmentBudgetSpent()
        case RefusedBy.RATE:
            return EnrollmentRateExceeded(retry_after=_until_next(timedelta(minutes=1), now))
        case RefusedBy.DAY:
            return ReenrollmentRateExceeded(retry_after=_until_next(timedelta(days=1), now))
        case _:
            return EnrollmentFrozen(retry_after=FROZEN_SECONDS)


def _until_next(period: timedelta, now: datetime) -> int:
    """Return the seconds until the next full `period` of UTC begins."""
    seconds = int(period.total_seconds())
    return seconds - epoch(now) % seconds
