"""The public host's verification of signed proofs, for device tests. PyJWT verifies them, not the product's
code.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from tests.factories import Authority

ALGORITHMS = ("ES256", "RS256", "PS256")
HEADER, CLAIMS = {"typ", "alg", "x5c"}, {"htm", "htu", "bsh", "jti", "nonce"}


class Stale(Exception):
    """The proof's nonce is not the current one."""


class Replayed(Exception):
    """The proof was used before."""


class Proofs:
    """The public host's nonce, and the proofs that it has seen."""

    def __init__(self, *authorities: Authority) -> None:
        self.nonce = "nonce-1"
        self.headers: list[dict[str, Any]] = []
        self._authorities = authorities
        self._used: set[str] = set()

    def renew_nonce(self) -> None:
        """Change the nonce, as the service does after five minutes."""
        self.nonce += "1"

    def signer(self, token: str, method: str, url: str, body: bytes) -> x509.Certificate:
        """Return the certificate whose key signed the proof `token` of this request (docs/protocol.md,
        "Signed proof").

        Raises Stale, Replayed, ValueError, and the exceptions of PyJWT.
        """
        header = jwt.get_unverified_header(token)
        self.headers.append(header)
        if set(header) != HEADER or header["typ"] != "firstboot-proof+jwt":
            raise ValueError("the header")
        chain = [x509.load_der_x509_certificate(base64.b64decode(der)) for der in header["x5c"]]
        self._check(chain)
        claims = jwt.decode(token, chain[0].public_key(), algorithms=ALGORITHMS)  # type: ignore[arg-type]
        hashed = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
        if set(claims) != CLAIMS or (claims["htm"], claims["htu"], claims["bsh"]) != (method, url, hashed):
            raise ValueError("the claims")
        if claims["jti"] in self._used or not 16 <= len(claims["jti"]) <= 128:
            raise Replayed
        self._used.add(claims["jti"])
        if claims["nonce"] != self.nonce:
            raise Stale
        return chain[0]

    def _check(self, chain: Sequence[x509.Certificate]) -> None:
        """Check that the chain verifies, ends under an authority, and holds no certificate that the service
        has.
        """
        for certificate, issuer in pairwise(chain):
            certificate.verify_directly_issued_by(issuer)
        for authority in self._authorities:
            try:
                chain[-1].verify_directly_issued_by(authority.certificate)
            except (ValueError, InvalidSignature):
                continue
            if chain[-1] != authority.certificate:
                return
        raise ValueError("the chain")
