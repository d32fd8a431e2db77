"""Signs proofs for tests with PyJWT, and so independently of the code that verifies them."""

from __future__ import annotations

import base64
import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests import factories


def sign(
    key: factories.PrivateKey,
    leaf: x509.Certificate,
    method: str,
    url: str,
    body: str = "",
    *,
    above: tuple[x509.Certificate, ...] = (),
    by_thumbprint: bool = False,
    header: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
) -> str:
    """Return a proof for a call.

    It is valid except for what `header` and `claims` change. A member that is changed to None is left out.
    """
    named = (
        {"x5t#S256": _thumbprint(leaf)} if by_thumbprint else {"x5c": [_der(each) for each in (leaf, *above)]}
    )
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    head = {"typ": "firstboot-proof+jwt", "alg": algorithm} | named | (header or {})
    payload = {
        "htm": method,
        "htu": url,
        "bsh": base64url(hashlib.sha256(body.encode()).digest()),
        "jti": uuid.uuid4().hex,
        "iat": int(datetime.now(UTC).timestamp()),
    } | (claims or {})
    kept = {name: value for name, value in payload.items() if value is not None}
    head = {name: value for name, value in head.items() if value is not None}
    return jwt.encode(kept, key, algorithm=head["alg"], headers=head)


def base64url(raw: bytes) -> str:
    """Return bytes as base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _thumbprint(leaf: x509.Certificate) -> str:
    return base64url(hashlib.sha256(leaf.public_bytes(Encoding.DER)).digest())


def _der(certificate: x509.Certificate) -> str:
    return factories.base64_text(certificate.public_bytes(Encoding.DER))
