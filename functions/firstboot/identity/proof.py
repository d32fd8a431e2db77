"""Possession by a signed proof, for callers without client TLS.

1. The proof parses, and is of a kind we take.
2. Its certificate is in it, or is one of ours that its thumbprint names.
3. The certificate's key signed it, for this call.
4. It is fresh: by a nonce of ours, or by its time.

A proof may be used once: `spend` records it.
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
"""How far the clock of a device that proves without a nonce may be off, either way."""

_SECOND = timedelta(seconds=1)
_YEAR = 366 * 86_400


class Proofs(Protocol):
    """What signed proofs need to be kept. Every method raises Unavailable when AWS does not answer."""

    def spend(self, proof: ProofId) -> bool:
        """Record that a proof is used; False if it was recorded before."""

    def certificate(self, thumbprint: str) -> Certificate | None:
        """Return the certificate of ours with that SHA-256 (hex), once it was made known."""

    def nonce_key(self, day: date) -> bytes:
        """Return the key of the nonces made on `day` (UTC), the same in every process."""


@dataclass(frozen=True)
class Prove:
    """Find the certificate behind a signed proof."""

    proofs: Proofs

    def __call__(self, token: str, call: Call, now: datetime) -> Proven:
        """Return the certificate whose key signed `token` for `call`.

        Raises ProofError, CertificateMalformed, Unavailable.
        """
        unverified = parse(token)  # 1
        leaf = self._leaf(unverified)  # 2
        verified = verify(unverified, leaf, call)  # 3
        expires_at = self._end(verified, now)  # 4
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
            # The device may send any integer, so it becomes a datetime only once it is near `now`.
            age = epoch(now) - verified.issued_at
            if abs(age) > CLOCK_SECONDS:
                # Python refuses to print an integer of thousands of digits.
                raise self._stale(now, f"iat is {age} s ago" if abs(age) < _YEAR else "iat is years off")
            return from_epoch(verified.issued_at + CLOCK_SECONDS + 1)
        given = verified.nonce or ""
        made_at = nonce.made_at(given)
        # Only recent days' keys are looked up: otherwise a made-up nonce would make us write rows.
        if made_at is None or not nonce.is_fresh(made_at, now):
            raise self._stale(now, "nonce is too old, or none of ours")
        if not nonce.is_good(given, self.proofs.nonce_key(made_at.date()), now):
            raise self._stale(now, "nonce is not ours")
        return made_at + nonce.LIFETIME + _SECOND

    def _stale(self, now: datetime, reason: str) -> ProofStale:
        return ProofStale(self.fresh_nonce(now), log=reason)


def spend(proof: ProofId | None, proofs: Proofs) -> None:
    """Use up a proof, if there is one.

    Raises ProofReplayed, Unavailable.
    """
    if proof and not proofs.spend(proof):
        raise ProofReplayed
