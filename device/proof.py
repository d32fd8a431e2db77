"""Make signed proofs, which identify the caller where TLS does not (docs/protocol.md, "Signed proof").

A proof is a JWT (RFC 7519) for one request, signed with the certificate's key, as in DPoP (RFC 9449). It
holds the service's nonce and no time, because a device may have no clock.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from . import certificates
from .refusal import Action, Refused
from .store import Identity

_COORDINATE_BYTES = 32


def proof(identity: Identity, method: str, url: str, body: bytes, nonce: str) -> str:
    """Return a proof that `identity` calls `url` with `method` and `body`. A proof is good for one request.

    The proof always holds the certificate chain. A thumbprint alone would be shorter, but the service accepts
    it only for a certificate that it knows already. Raises Refused (stop) if the identity can't sign a proof.
    """
    key, chain = certificates.signer(identity.key.read_bytes(), identity.certificate.read_bytes())
    algorithm = _algorithm(key)
    header = {
        "typ": "firstboot-proof+jwt",
        "alg": algorithm,
        "x5c": [base64.b64encode(der).decode() for der in chain],
    }
    claims = {
        "htm": method,
        "htu": url,
        "bsh": base64url(hashlib.sha256(body).digest()),
        "jti": secrets.token_urlsafe(16),
        "nonce": nonce,
    }
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{base64url(_signature(key, signed.encode()))}"


def base64url(raw: bytes) -> str:
    """Return `raw` as base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _part(members: dict[str, Any]) -> str:
    return base64url(json.dumps(members, separators=(",", ":")).encode())


def _algorithm(key: certificates.PrivateKey) -> str:
    if isinstance(key, rsa.RSAPrivateKey):
        return "PS256"
    if isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    raise Refused(Action.STOP, f"A key on {key.curve.name} can't sign proofs; the mTLS host takes it")


def _signature(key: certificates.PrivateKey, signed: bytes) -> bytes:
    """Return the signature as RFC 7518 has it: section 3.4 for ECDSA (r, then s), 3.5 for RSA-PSS."""
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return key.sign(signed, pss, hashes.SHA256())
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
