"""Signed proofs: possession of a certificate's key, shown without client TLS. Pure.

A proof is a JWS (RFC 7515) bound to one call, like DPoP's (RFC 9449), with the certificate itself
(`x5c`) or, for one we issued, its SHA-256 (`x5t#S256`) in the header:

    {"typ": "firstboot-proof+jwt", "alg": "ES256", "x5c": […]}
    {"htm": "POST", "htu": "https://…/v1/certificates", "bsh": …, "jti": …, "nonce": … or "iat": …}

Only possession and binding are verified here. The caller verifies the certificate itself.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from firstboot.pki import bootstrap, certificate
from firstboot.pki.certificate import Certificate
from firstboot.pki.der import NotDer
from firstboot.pki.errors import CertificateMalformed, ProofMalformed, ProofMismatch, ProofSignatureInvalid
from firstboot.pki.signature import KeyRefused

TYPE = "firstboot-proof+jwt"
MAX_LENGTH = 8_192
"""Characters. API Gateway takes 10,240 bytes of headers."""

MAX_JTI = 128
_KEYS: dict[str, type] = {
    "ES256": ec.EllipticCurvePublicKey,
    "RS256": rsa.RSAPublicKey,
    "PS256": rsa.RSAPublicKey,
}
_MAX_CHAIN = 1 + bootstrap.MAX_INTERMEDIATES


@dataclass(frozen=True)
class Call:
    """What a proof must be bound to. `url` has the host the call came to, and the query if any."""

    method: str
    url: str
    body: bytes


@dataclass(frozen=True)
class UnverifiedProof:
    """A proof that parses. `certificates` are leaf first; without any, `thumbprint` (hex SHA-256)
    names the leaf.
    """

    token: str
    algorithm: str
    certificates: tuple[Certificate, ...]
    thumbprint: str


@dataclass(frozen=True)
class VerifiedProof:
    """A proof that the leaf's key signed for this call. `nonce` and `issued_at` (epoch seconds) are
    as the proof has them: one is there, and neither has been looked at.
    """

    jti: str
    nonce: str | None
    issued_at: int | None


def parse(token: str) -> UnverifiedProof:
    """Read a proof's header.

    Raises ProofMalformed, CertificateMalformed.
    """
    if len(token) > MAX_LENGTH:
        raise ProofMalformed(log=f"{len(token)} characters")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, UnicodeEncodeError) as error:
        raise ProofMalformed(log=repr(error)) from error
    # Exactly these: a key or a URL of a key in the header (`jwk`, `jku`, `x5u`, `kid`), or an
    # extension that must be understood (`crit`), would be the sender's own choice of trust.
    named = header.keys() - {"typ", "alg"}
    algorithm = header.get("alg")
    # Any member may have any JSON type, and a list is no key of a dict.
    if not isinstance(algorithm, str) or algorithm not in _KEYS:
        raise ProofMalformed(f"alg is one of {', '.join(_KEYS)}", log=repr(algorithm)[:80])
    if header.get("typ") != TYPE or len(named) != 1:
        raise ProofMalformed(f"The header has typ {TYPE}, alg, and x5c or x5t#S256", log=f"{sorted(header)}")
    match header:
        case {"x5c": list(encoded)} if 1 <= len(encoded) <= _MAX_CHAIN:
            certificates = tuple(_certificate(each) for each in encoded)
            return UnverifiedProof(token, algorithm, certificates, certificates[0].fingerprint)
        case {"x5t#S256": str(thumbprint)}:
            return UnverifiedProof(token, algorithm, (), _hex(thumbprint))
        case _:
            raise ProofMalformed("x5c is a list of at most three, x5t#S256 a string")


def _certificate(encoded: object) -> Certificate:
    if not isinstance(encoded, str):
        raise CertificateMalformed(log="x5c holds no string")
    try:
        der = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise CertificateMalformed(log=repr(error)) from error
    return certificate.parse(der)


def _hex(thumbprint: str) -> str:
    try:
        digest = base64.b64decode(thumbprint + "=", altchars=b"-_", validate=True)
    except ValueError as error:
        raise ProofMalformed(log=repr(error)) from error
    if len(digest) != hashlib.sha256().digest_size:
        raise ProofMalformed(log=f"thumbprint of {len(digest)} bytes")
    return digest.hex()


def verify(proof: UnverifiedProof, leaf: Certificate, call: Call) -> VerifiedProof:
    """Check that `leaf`'s key signed `proof`, and signed it for `call`.

    Raises ProofSignatureInvalid, ProofMalformed, ProofMismatch.
    """
    claims = _claims(proof, leaf)
    match claims:
        case {"htm": str(method), "htu": str(url), "bsh": str(body_hash), "jti": str(jti)}:
            nonce, issued_at = claims.get("nonce"), claims.get("iat")
        case _:
            raise ProofMalformed("The claims htm, htu, bsh and jti are strings")
    # Half a surrogate pair, which JSON can escape, has no encoding to hash or to store.
    if not 1 <= len(jti) <= MAX_JTI or not jti.isprintable():
        raise ProofMalformed(f"jti has 1 to {MAX_JTI} printable characters")
    if not (isinstance(nonce, str) if issued_at is None else nonce is None and type(issued_at) is int):
        raise ProofMalformed("Either nonce (a string) or iat (an integer) is there")
    if (method, _normal(url), body_hash) != (call.method, _normal(call.url), _digest(call.body)):
        raise ProofMismatch(
            log=f"{method[:9]!r} {url[:200]!r} is not {call.method} {call.url[:200]!r}, or body"
        )
    return VerifiedProof(jti, nonce, issued_at)


def _claims(proof: UnverifiedProof, leaf: Certificate) -> dict[str, Any]:
    try:
        key = leaf.public_key()
    except (KeyRefused, NotDer) as error:
        raise ProofSignatureInvalid(log=repr(error)) from error
    # The algorithm goes by the key: ES256 is P-256's alone (RFC 7518 section 3.4).
    fits = isinstance(key, _KEYS[proof.algorithm])
    if not fits or (isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, ec.SECP256R1)):
        raise ProofSignatureInvalid(log=f"{proof.algorithm} with {key!r}")
    unchecked = {f"verify_{claim}": False for claim in ("aud", "exp", "iat", "iss", "jti", "nbf", "sub")}
    try:
        return jwt.decode(proof.token, key, algorithms=[proof.algorithm], options=unchecked)  # type: ignore[arg-type]
    except jwt.InvalidSignatureError as error:
        raise ProofSignatureInvalid from error
    except (jwt.InvalidTokenError, RecursionError) as error:
        raise ProofMalformed(log=repr(error)) from error


def _normal(url: str) -> tuple[str, str, str, str]:
    """Return a URL's parts for comparison (RFC 3986 sections 6.2.2 and 6.2.3).

    Scheme and host are in any case, the path is percent-encoded or not, the port 443 is there or not, and an
    empty path is `/`.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return ("", "", "", "")
    scheme, host = parts.scheme.lower(), parts.netloc.lower()
    if scheme == "https":
        host = host.removesuffix(":443").removesuffix(":")
    return scheme, host, unquote(parts.path) or "/", parts.query


def _digest(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")
