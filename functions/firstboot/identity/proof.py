"""Possession of a certificate's key by a signed proof, for callers without client TLS.

1. The proof can be parsed and is of a supported kind.
2. The proof contains its certificate, or has the thumbprint of a stored one that Firstboot issued.
3. The certificate's key signed the proof for this request.
4. The proof is fresh, by a nonce of Firstboot's or by its time.

A proof may be used once; `spend` records the use.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from firstboot.domain.clock import epoch, from_epoch
from firstboot.domain.proof_id import ProofId
from firstboot.identity.errors import CertificateUnknown, ProofReplayed, ProofStale
from firstboot.identity.possession import Proven
from firstboot.pki import nonce
from firstboot.pki.certificate import Certificate
from firstboot.pki.proof import Call, UnverifiedProof, VerifiedProof, parse, verify

CLOCK_SECONDS = 300
"""Seconds by which the clock of a device that signs proofs without a nonce may be ahead or behind."""

_SECOND = timedelta(seconds=1)
_YEAR = 366 * 86_400


class Proofs(Protocol):
    """The storage for signed proofs. Every method raises Unavailable when AWS does not answer."""

    def spend(self, proof: ProofId) -> bool:
        """Record the use of a proof. Return False if its use was recorded before."""

    def certificate(self, thumbprint: str) -> Certificate | None:
        """Return the issued certificate with that SHA-256 (hex); None if it was not stored by thumbprint."""

    def nonce_key(self, day: date) -> bytes:
        """Return the key of the nonces made on `day` (UTC), the same in every process.

        The process that needs a day's key first makes it. So there is no key to deploy, to rotate or to lose.
        """


@dataclass(frozen=True)
class Prove:
    """The verification of signed proofs."""

    proofs: Proofs

    def __call__(self, token: str, call: Call, now: datetime) -> Proven:
        """Return the certificate whose key signed `token` for `call`.

        Raises ProofError, CertificateMalformed, Unavailable.
        """
        unverified = parse(token)  # 1
        leaf = self._leaf(unverified)  # 2
        verified = verify(unverified, leaf, call)  # 3
        expires_at = self._end(verified, now)  # 4
        # A jti need be unique for its certificate only: one device must not be able to use up another's.
        used = hashlib.sha256(f"{unverified.thumbprint}:{verified.jti}".encode()).hexdigest()
        return Proven(leaf, unverified.certificates[1:], ProofId(used, expires_at))

    def fresh_nonce(self, now: datetime) -> str:
        """Return a nonce for the next proof.

        Raises Unavailable.
        """
        return nonce.make(self.proofs.nonce_key(now.date()), now)

    def _leaf(self, unverified: UnverifiedProof) -> Certificate:
        if unverified.certificates:
            return unverified.certificates[0]
        known = self.proofs.certificate(unverified.thumbprint)
        if known is None:
            raise CertificateUnknown
        return known

    def _end(self, verified: VerifiedProof, now: datetime) -> datetime:
        """Return when the proof becomes stale.

        Raises ProofStale if it already is.
        """
        if verified.issued_at is not None:
            # A device may send any integer, and not every integer is a datetime. One that is near `now` is.
            age = epoch(now) - verified.issued_at
            if abs(age) > CLOCK_SECONDS:
                # Python refuses to print an integer of thousands of digits.
                raise self._stale(
                    now, f"iat is {age} s before now" if abs(age) < _YEAR else "iat is years off"
                )
            return from_epoch(verified.issued_at + CLOCK_SECONDS + 1)
        given = verified.nonce or ""
        made_at = nonce.made_at(given)
        # The lookup creates a missing day's key. So a nonce with an invented day is refused before it: an
        # unauthenticated request must not be able to write any number of rows.
        if made_at is None or not nonce.is_fresh(made_at, now):
            raise self._stale(now, "the nonce is too old or has another form")
        if not nonce.is_good(given, self.proofs.nonce_key(made_at.date()), now):
            raise self._stale(now, "the nonce has a wrong MAC")
        return made_at + nonce.LIFETIME + _SECOND

    def _stale(self, now: datetime, reason: str) -> ProofStale:
        return ProofStale(self.fresh_nonce(now), log=reason)


def spend(proof: ProofId | None, proofs: Proofs) -> None:
    """Record the use of a proof, if there is one. Call it only after the certificate was verified.

    Raises ProofReplayed, Unavailable.
    """
    if proof and not proofs.spend(proof):
        raise ProofReplayed
