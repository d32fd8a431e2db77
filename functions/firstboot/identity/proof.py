"""Possession of a certificate's key by a signed proof, for callers without client TLS.

1. The proof can be parsed and is of a supported kind.
2. The proof contains its certificate, or has the thumbprint of a stored one that Firstboot issued.
3. The certificate's key signed the proof for this request.
4. The proof is fresh, by a nonce of Firstboot's or by its time.

A proof may be used once; `spend` records the use, if the device's group accepts proofs of its kind.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from firstboot.domain.clock import SKEW, epoch, from_epoch
from firstboot.domain.fleet import Group
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

    def nonce_key(self) -> bytes:
        """Return the key of all nonces, the same in every process."""


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
        proof = ProofId(used, expires_at, has_nonce=verified.nonce is not None)
        return Proven(leaf, unverified.certificates[1:], proof)

    def fresh_nonce(self, now: datetime) -> str:
        """Return a nonce for the next proof.

        Raises Unavailable.
        """
        return _fresh_nonce(self.proofs, now)

    def _leaf(self, unverified: UnverifiedProof) -> Certificate:
        if unverified.certificates:
            return unverified.certificates[0]
        known = self.proofs.certificate(unverified.thumbprint)
        if known is None:
            raise CertificateUnknown
        return known

    def _end(self, verified: VerifiedProof, now: datetime) -> datetime:
        """Return when the proof is stale for every process, so that the record of its use may end.

        Raises ProofStale if it is stale for this process.
        """
        if verified.issued_at is not None:
            # A device may send any integer, and not every integer is a datetime. One that is near `now` is.
            age = epoch(now) - verified.issued_at
            if abs(age) > CLOCK_SECONDS:
                # Python refuses to print an integer of thousands of digits.
                raise self._stale(
                    now, f"iat is {age} s before now" if abs(age) < _YEAR else "iat is years off"
                )
            return from_epoch(verified.issued_at + CLOCK_SECONDS) + _SECOND + SKEW
        given = verified.nonce or ""
        made_at = nonce.made_at(given)
        if made_at is None or not nonce.is_good(given, self.proofs.nonce_key(), now):
            raise self._stale(now, "the nonce is too old or not ours")
        return made_at + nonce.LIFETIME + _SECOND + SKEW

    def _stale(self, now: datetime, reason: str) -> ProofStale:
        return ProofStale(_fresh_nonce(self.proofs, now), log=reason)


def spend(proof: ProofId | None, group: Group | None, proofs: Proofs, now: datetime) -> None:
    """Record the use of a proof, if there is one and the device's group accepts its kind.

    Call it only after the certificate was verified. `group` is None if the fleet has lost the device's group.
    Raises ProofStale, ProofReplayed, Unavailable.
    """
    if proof is None:
        return
    # What a lost group demanded is not known any more, and every client can sign again with the nonce.
    if not proof.has_nonce and (group is None or group.proof == "nonce"):
        detail = "A proof of this group's devices must have the server's nonce"
        raise ProofStale(_fresh_nonce(proofs, now), detail)
    if not proofs.spend(proof):
        raise ProofReplayed


def _fresh_nonce(proofs: Proofs, now: datetime) -> str:
    return nonce.make(proofs.nonce_key(), now)
