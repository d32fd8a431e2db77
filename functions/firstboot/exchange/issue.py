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
from typing import Literal, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain.claim import Enrollment, Renewal
from firstboot.domain.device import Anchor, Attribute, CertificateRecord
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId
from firstboot.exchange.reserve import Claims as Reservations
from firstboot.exchange.reserve import Reserve
from firstboot.exchange.waiting import Waiting
from firstboot.pki import chain
from firstboot.pki.csr import UnverifiedCsr, VerifiedCsr
from firstboot.pki.profile import Issuer, operational_certificate


class Claims(Reservations, Protocol):
    """The claims in the device records. Every method raises Unavailable when AWS does not answer."""

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
        reserved = Reserve(self.claims, self.waiting)(asked)  # 1
        record = reserved.record
        by: Literal["enroll", "renew"] = "renew" if isinstance(asked, Renewal) else "enroll"
        anchor = None if isinstance(asked, Renewal) else asked.anchor
        try:
            stored = self.store.get(asked.device_id, record.serial) if reserved.is_repeat else None
            pem = stored or self._sign_and_store(asked.device_id, record, csr)
            known = reserved.device.registered if reserved.device else frozenset()
            issued = Issued(asked.device_id, record, pem, group, known, by, anchor)
            if make_known:
                self.claims.make_known(issued.certificates[0])
        except Unavailable as error:
            # Once the intent is recorded, a failed call is no refusal (202, not 503): repeating the request
            # completes it.
            slot = self.waiting.unavailable(error, asked).slot if isinstance(asked, Enrollment) else None
            return Claimed(asked.device_id, record, error.log, anchor, slot)
        return issued

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
