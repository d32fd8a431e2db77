"""Issue a certificate exactly once. docs/issuance.md explains the numbered steps.

1. Claim: record the intent in the device record, completely or not at all.
2. Sign: the CA key signs the TBS rebuilt from the *recorded* intent.
3. Store: write the chain unless there is one. The object in S3 is the fact of issuance; the chain is in no
   other place that could contradict it.

A repeat of a finished request fails step 1 and finds the chain. A repeat of an unfinished one finds no chain
and continues with step 2. Of two requests at the same time one stores its chain, and both return the stored
one. The recorded intent makes the call idempotent, so no other idempotency key is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain.claim import (
    ABOUT_NAME,
    HOLD,
    ClaimRefused,
    Enrollment,
    Limits,
    RefusedBy,
    Renewal,
    answer_to,
)
from firstboot.domain.clock import epoch, until_next
from firstboot.domain.device import Anchor, Attribute, CertificateRecord, Device, RefusedKey
from firstboot.domain.errors import (
    BootstrapKeyChanged,
    DeviceNotExpected,
    FirstbootError,
    KeyInUse,
    Unavailable,
)
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId
from firstboot.exchange.errors import (
    EnrollmentBudgetSpent,
    EnrollmentFrozen,
    EnrollmentRateExceeded,
    ReenrollmentRateExceeded,
)
from firstboot.exchange.waiting import Waiting
from firstboot.identity.errors import BootstrapRevoked
from firstboot.pki import chain
from firstboot.pki.csr import UnverifiedCsr, VerifiedCsr
from firstboot.pki.profile import Issuer, operational_certificate

FROZEN_SECONDS = 3_600
"""When a device of a frozen group asks again. The time is long because a person must thaw the group."""


class Claims(Protocol):
    """The claims in the device records. Every method raises Unavailable when AWS does not answer."""

    def claim(self, asked: Enrollment | Renewal) -> ClaimRefused | None:
        """Record the intent to certify, or return the reason against it; completely or not at all."""

    def freeze(self, group: str, limits: Limits, now: datetime) -> None:
        """Refuse enrollments of the group until an operator thaws it. A repeat changes nothing."""

    def count_guess(self, identifier: str, now: datetime) -> bool:
        """Count a name that a claim certificate was refused with; return False above the hour's limit."""

    def note_refused_key(self, device: Device, refused: RefusedKey) -> None:
        """Note in the record `device` which bootstrap key was refused last, once a minute at most."""

    def make_known(self, leaf: x509.Certificate) -> None:
        """Make a certificate of ours known by its thumbprint. A repeat changes nothing."""


class CertificateStore(Protocol):
    """The issued certificates. Every method raises Unavailable when AWS does not answer."""

    def put(self, device_id: DeviceId, serial: str, chain: bytes) -> bool:
        """Store `chain` (PEM) unless there is one; return whether this call stored it."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None if the certificate has not been issued."""


@dataclass(frozen=True)
class ExchangeRequest:
    """A request of a device. `device_id` and `claims` are its own, unverified statements.

    `claims` is None if the request says nothing about them.
    """

    csr: UnverifiedCsr
    device_id: str | None = None
    claims: dict[str, Attribute] | None = None


@dataclass(frozen=True)
class Issued:
    """A stored certificate of a device of `group`.

    `chain` is PEM: the leaf, then the issuing CA. `registered` are the ids of the device's certificates that
    are ACTIVE in AWS IoT. `by` says what the device asked for. `anchor` is its bootstrap certificate's; None
    for a renewal.
    """

    device_id: DeviceId
    record: CertificateRecord
    chain: bytes
    group: Group
    registered: frozenset[str]
    by: Literal["enroll", "renew"]
    anchor: Anchor | None

    @property
    def certificates(self) -> list[x509.Certificate]:
        """Return the parsed chain."""
        return x509.load_pem_x509_certificates(self.chain)

    @property
    def ready(self) -> bool:
        """Return whether the device may connect to AWS IoT's broker now.

        A device that connects with tokens is ready at once: AWS IoT never registers its certificate.
        """
        return self.group.is_connectable(chain.fingerprint(self.certificates[0]), self.registered)


@dataclass(frozen=True)
class Claimed:
    """A recorded intent that AWS did not sign or store yet. The same request continues from here.

    `reason` is for the log. `anchor` is as in Issued. `slot` are the seconds until the device's retry slot,
    None if it has none.
    """

    device_id: DeviceId
    record: CertificateRecord
    reason: str | None
    anchor: Anchor | None
    slot: int | None = None


@dataclass(frozen=True)
class Issue:
    """The step of enroll and renew that issues a certificate, or finds the one issued before."""

    issuer: Issuer
    claims: Claims
    store: CertificateStore
    waiting: Waiting

    def __call__(
        self, asked: Enrollment | Renewal, csr: VerifiedCsr, group: Group, *, make_known: bool
    ) -> Issued | Claimed:
        """Issue the certificate that is asked for, for a device of `group`.

        `make_known` is true for a caller without client TLS. Its new certificate must be known by its
        thumbprint before its first login; other certificates become known with it, which saves a call here.
        Raises what domain.claim.answer_to raises, BootstrapRevoked, KeyInUse, EnrollmentFrozen, LimitError,
        and Unavailable as long as nothing is recorded.
        """
        refused = self._claimed(asked)  # 1
        record = self._recorded(refused, asked) if refused else asked.certificate
        by: Literal["enroll", "renew"] = "renew" if isinstance(asked, Renewal) else "enroll"
        anchor = None if isinstance(asked, Renewal) else asked.anchor
        try:
            stored = self.store.get(asked.device_id, record.serial) if refused else None
            pem = stored or self._sign_and_store(asked.device_id, record, csr)
            known = refused.device.registered if refused and refused.device else frozenset()
            issued = Issued(asked.device_id, record, pem, group, known, by, anchor)
            if make_known:
                self.claims.make_known(issued.certificates[0])
        except Unavailable as error:
            # Once the intent is recorded, a failed call is no refusal (202, not 503): repeating the request
            # completes it.
            slot = self.waiting.unavailable(error, asked).slot if isinstance(asked, Enrollment) else None
            return Claimed(asked.device_id, record, error.log, anchor, slot)
        return issued

    def _claimed(self, asked: Enrollment | Renewal) -> ClaimRefused | None:
        try:
            return self.claims.claim(asked)
        except Unavailable as error:
            if isinstance(asked, Renewal):
                raise
            raise self.waiting.unavailable(error, asked) from error

    def _recorded(self, refused: ClaimRefused, asked: Enrollment | Renewal) -> CertificateRecord:
        """Return the certificate that the row of a refused claim already holds for this request.

        Raises the refusal if it holds none.
        """
        if refused.by is RefusedBy.DEVICE:
            return self._answer(refused.device, asked)
        # More devices enroll in this hour than the operator expected, so the group stops until a person has
        # looked.
        if refused.by is RefusedBy.THRESHOLD and isinstance(asked, Enrollment) and asked.limits:
            self.claims.freeze(asked.counted_as, asked.limits, asked.now)
            raise EnrollmentFrozen(log=f"{asked.group} frozen", retry_after=FROZEN_SECONDS)
        if refused.by is RefusedBy.RATE and isinstance(asked, Enrollment):
            raise self.waiting.too_many(asked)
        error = _too_often(refused, asked) or _refusal(refused.by, asked.now)
        raise self._of_name(error, asked) if refused.by in ABOUT_NAME else error

    def _answer(self, device: Device | None, asked: Enrollment | Renewal) -> CertificateRecord:
        try:
            known = answer_to(device, asked)
        except FirstbootError as error:
            if (
                isinstance(error, BootstrapKeyChanged)
                and device
                and isinstance(asked, Enrollment)
                and asked.pin
            ):
                self.claims.note_refused_key(device, RefusedKey(asked.pin, asked.now))
            raise self._of_name(error, asked) from None
        if known is None:
            raise Unavailable(log="the device record changed during the claim")
        return known

    def _of_name(self, error: FirstbootError, asked: Enrollment | Renewal) -> FirstbootError:
        """Return the error that the caller gets where `error` would tell something about the device's name.

        In a shared group it is one error for each name that is not expected, taken, revoked or in another
        group: every holder of the claim certificate can try names. The refusal is counted as a guess.
        """
        if not (isinstance(asked, Enrollment) and asked.expected):
            return error
        if not self.claims.count_guess(asked.enrolled_by, asked.now):
            return _refusal(RefusedBy.GUESSES, asked.now)
        log = f"{asked.device_id}: {error.code} {error.log}".rstrip()
        # A name that is reserved for another key is free again after this time.
        wait = int(HOLD.total_seconds())
        return DeviceNotExpected(log=log, metric=error.metric, retry_after=wait)

    def _sign_and_store(self, device_id: DeviceId, record: CertificateRecord, csr: VerifiedCsr) -> bytes:
        # A certificate that has logged in has an id in AWS IoT, and another signature would change it.
        if record.certificate_id:
            raise Unavailable(log=f"{device_id}'s certificate is lost: run `devices repair`")
        # Every attempt signs the same TBS, because it is rebuilt from the record and not from this request.
        leaf = operational_certificate(self.issuer, device_id, csr.public_key, record)  # 2
        pem = leaf.public_bytes(Encoding.PEM) + self.issuer.pem
        if self.store.put(device_id, record.serial, pem):  # 3
            return pem
        # Another request for the same intent was faster. Its chain is the issued one.
        winner = self.store.get(device_id, record.serial)
        if winner is None:
            raise Unavailable(log="the stored certificate is not there any more")
        return winner


def _too_often(refused: ClaimRefused, asked: Enrollment | Renewal) -> FirstbootError | None:
    """Return the error for a device that enrolls too often, or None if that is not the reason."""
    if refused.by is not RefusedBy.DAY:
        return None
    # The count begins anew on the next day.
    seconds = until_next(timedelta(days=1), asked.now)
    if refused.again_at:
        seconds = min(seconds, epoch(refused.again_at) - epoch(asked.now))
    log = f"{asked.device_id} enrolls too often: a copy of its bootstrap key may be in use"
    return ReenrollmentRateExceeded(log=log, retry_after=max(1, seconds))


def _refusal(by: RefusedBy, now: datetime) -> FirstbootError:
    """Return the error for a claim that a row other than the device's refused."""
    match by:
        case RefusedBy.BOOTSTRAP | RefusedBy.KEY | RefusedBy.TOTAL:
            return _FINAL[by]()
        case RefusedBy.GUESSES:
            return EnrollmentRateExceeded(
                "The claim certificate was refused with too many names in this hour",
                retry_after=until_next(timedelta(hours=1), now),
                metric="NameGuessLimit",
            )
        case _:
            return EnrollmentFrozen(retry_after=FROZEN_SECONDS)


_FINAL: dict[RefusedBy, type[FirstbootError]] = {
    RefusedBy.BOOTSTRAP: BootstrapRevoked,
    RefusedBy.KEY: KeyInUse,
    RefusedBy.TOTAL: EnrollmentBudgetSpent,
}
