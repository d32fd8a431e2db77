"""Issuing a certificate exactly once. The numbered steps of docs/issuance.md.

1. Claim: the intent is recorded in the registry, all or nothing.
2. Sign: the CA key signs the TBS rebuilt from the *recorded* intent.
3. Store: the chain is put where there is none. This is the commit point.

A repeat of a finished request fails step 1 and finds the chain; of an unfinished one, it
finds none and goes on with step 2. Of two that race, one puts; the other answers with that.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain.claim import ClaimRefused, RefusedBy
from firstboot.domain.clock import epoch
from firstboot.domain.device import Attribute, CertificateRecord, Enrollment, Renewal, answer_to
from firstboot.domain.errors import (
    EnrollmentBudgetSpent,
    EnrollmentFrozen,
    EnrollmentRateExceeded,
    KeyInUse,
    ReenrollmentRateExceeded,
    Unavailable,
)
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId
from firstboot.domain.ports import CertificateStore, Registry
from firstboot.pki import chain
from firstboot.pki.csr import UnverifiedCsr, VerifiedCsr
from firstboot.pki.profile import Issuer, operational_certificate

FROZEN_SECONDS = 3_600
"""When a device of a frozen group asks again: thawing is a person's work."""


@dataclass(frozen=True)
class ExchangeRequest:
    """What a device sends. `device_id` and `claims` are what it says of itself."""

    csr: UnverifiedCsr
    device_id: str | None = None
    claims: dict[str, Attribute] | None = None


@dataclass(frozen=True)
class Issued:
    """A certificate that is stored, of a device of `group`. `chain` is PEM: the leaf, then the issuing
    CA. `registered` are the ids of the device's certificates that are ACTIVE in AWS IoT.
    """

    device_id: DeviceId
    record: CertificateRecord
    chain: bytes
    group: Group
    registered: frozenset[str]

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
    """The intent is recorded, but AWS did not sign or store: the same request goes on from here.
    `reason` is for the log.
    """

    device_id: DeviceId
    record: CertificateRecord
    reason: str | None


def issue(
    asked: Enrollment | Renewal,
    csr: VerifiedCsr,
    issuer: Issuer,
    registry: Registry,
    store: CertificateStore,
    group: Group,
    *,
    make_known: bool,
) -> Issued | Claimed:
    """Issue what is asked for a device of `group`, or find what was issued before.

    `make_known`: the caller can't use client TLS, so its new certificate must be known by its
    thumbprint before its first login.

    Raises what lifecycle.answer_to does, KeyInUse, EnrollmentFrozen, LimitError, and Unavailable
    while nothing is recorded.
    """
    refused = registry.claim(asked)  # 1
    record = recorded(refused, asked, registry) if refused else asked.certificate
    try:
        stored = store.get(asked.device_id, record.serial) if refused else None
        pem = stored or _sign_and_store(asked.device_id, record, csr, issuer, store)
        known = refused.device.registered if refused and refused.device else frozenset()
        issued = Issued(asked.device_id, record, pem, group, known)
        if make_known:
            registry.make_known(issued.certificates[0])
    except Unavailable as error:
        return Claimed(asked.device_id, record, error.log)
    return issued


def recorded(refused: ClaimRefused, asked: Enrollment | Renewal, registry: Registry) -> CertificateRecord:
    """The certificate a refused claim's row already holds for this request.

    Raises the refusal where there is none.
    """
    match refused.by:
        case RefusedBy.DEVICE:
            known = answer_to(refused.device, asked)
            if known is None:
                raise Unavailable(log="the row changed between condition and answer")
            return known
        case RefusedBy.KEY:
            raise KeyInUse
        case RefusedBy.THRESHOLD if isinstance(asked, Enrollment) and asked.limits:
            registry.freeze(asked.group, asked.limits, asked.now)
            raise EnrollmentFrozen(log=f"{asked.group} frozen", retry_after=FROZEN_SECONDS)
        case RefusedBy.TOTAL:
            raise EnrollmentBudgetSpent
        case RefusedBy.RATE:
            raise EnrollmentRateExceeded(retry_after=60 - epoch(asked.now) % 60)
        case RefusedBy.DAY:
            raise ReenrollmentRateExceeded(retry_after=86_400 - epoch(asked.now) % 86_400)
        case _:
            raise EnrollmentFrozen(retry_after=FROZEN_SECONDS)


def _sign_and_store(
    device_id: DeviceId,
    record: CertificateRecord,
    csr: VerifiedCsr,
    issuer: Issuer,
    store: CertificateStore,
) -> bytes:
    leaf = operational_certificate(issuer, device_id, csr.public_key, record)  # 2
    pem = leaf.public_bytes(Encoding.PEM) + issuer.pem
    if store.put(device_id, record.serial, pem):  # 3
        return pem
    winner = store.get(device_id, record.serial)
    if winner is None:
        raise Unavailable(log="a certificate was stored and is gone")
    return winner
