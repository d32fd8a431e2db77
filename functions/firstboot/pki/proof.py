"""Signed proofs, by which a caller without client TLS proves possession of a certificate's key.

A proof is a JWS (RFC 7515) for one request, like that of DPoP (RFC 9449). Its header has the certificate
itself (`x5c`) or, for a certificate that Firstboot issued, its SHA-256 (`x5t#S256`):

    {"typ": "firstboot-proof+jwt", "alg": "ES256", "x5c": […]}
    {"htm": "POST", "htu": "https://…/v1/certificates", "bsh": …, "jti": …, "nonce": … or "iat": …}

This module verifies that the certificate's key signed the proof, and for which request. The caller of this
module verifies the certificate.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from firstboot.pki import certificate
from firstboot.pki.certificate import Certificate
from firstboot.pki.der import NotDer
from firstboot.pki.errors import CertificateMalformed, ProofMalformed, ProofMismatch, ProofSignatureInvalid
from firstboot.pki.signature import KeyRefused

TYPE = "firstboot-proof+jwt"
MAX_LENGTH = 8_192
"""Characters of a proof. API Gateway accepts 10,240 bytes of headers in all."""

MAX_JTI = 128
_KEYS: dict[str, type] = {
    "ES256": ec.EllipticCurvePublicKey,
    "RS256": rsa.RSAPublicKey,
    "PS256": rsa.RSAPublicKey,
}
_VISIBLE = re.compile("[!-~]+")
_DEFAULT_PORT = re.compile(":(443)?$")
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")
_MAX_CHAIN = 1 + certificate.MAX_INTERMEDIATES


@dataclass(frozen=True)
class Call:
    """The request that a proof must have been made for.

    `url` has the host that the request came to and, unlike in DPoP, the query: `?deviceId=` decides which
    device enrolls.
    """

    method: str
    url: str
    body: bytes


@dataclass(frozen=True)
class UnverifiedProof:
    """A parsed proof. `certificates` has the leaf first, and is empty if only a thumbprint was sent.

    `thumbprint` is the SHA-256 (hex) of the leaf.
    """

    token: str
    algorithm: str
    certificates: tuple[Certificate, ...]
    thumbprint: str


@dataclass(frozen=True)
class VerifiedProof:
    """A proof that the leaf's key signed for this request.

    Either `nonce` or `issued_at` (epoch seconds) is present. Neither has been checked yet.
    """

    jti: str
    nonce: str | None
    issued_at: int | None


def parse(token: str) -> UnverifiedProof:
    """Return a proof with its header parsed.

    Raises ProofMalformed, CertificateMalformed.
    """
    if len(token) > MAX_LENGTH:
        raise ProofMalformed(log=f"{len(token)} characters")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, UnicodeEncodeError) as error:
        raise ProofMalformed(log=repr(error)) from error
    # No other members: with a key or a URL of a key (`jwk`, `jku`, `x5u`, `kid`), the sender would choose the
    # key that its proof is verified with. `crit` would demand an extension that is not implemented.
    named = header.keys() - {"typ", "alg"}
    algorithm = header.get("alg")
    # A member may have any JSON type, and a list cannot be looked up in a dict.
    if not isinstance(algorithm, str) or algorithm not in _KEYS:
        raise ProofMalformed(f"alg must be one of {', '.join(_KEYS)}", log=repr(algorithm)[:80])
    if header.get("typ") != TYPE or len(named) != 1:
        raise ProofMalformed("The header must have typ, alg, and x5c or x5t#S256", log=f"{sorted(header)}")
    match header:
        case {"x5c": list(encoded)} if 1 <= len(encoded) <= _MAX_CHAIN:
            certificates = tuple(_certificate(each) for each in encoded)
            return UnverifiedProof(token, algorithm, certificates, certificates[0].fingerprint)
        case {"x5t#S256": str(thumbprint)}:
            return UnverifiedProof(token, algorithm, (), _hex(thumbprint))
        case _:
            raise ProofMalformed("x5c must be a list of one to three certificates, x5t#S256 a string")


def _certificate(encoded: object) -> Certificate:
    if not isinstance(encoded, str):
        raise CertificateMalformed(log="a member of x5c is not a string")
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
        raise ProofMalformed(log=f"the thumbprint has {len(digest)} bytes")
    return digest.hex()


def verify(proof: UnverifiedProof, leaf: Certificate, call: Call) -> VerifiedProof:
    """Check that `leaf`'s key signed `proof` for the request `call`.

    Raises ProofSignatureInvalid, ProofMalformed, ProofMismatch.
    """
    claims = _claims(proof, leaf)
    match claims:
        case {"htm": str(method), "htu": str(url), "bsh": str(body_hash), "jti": str(jti)}:
            nonce, issued_at = claims.get("nonce"), claims.get("iat")
        case _:
            raise ProofMalformed("The claims htm, htu, bsh and jti must be strings")
    # JSON can escape half a surrogate pair, which has no encoding to hash or to store.
    if not 1 <= len(jti) <= MAX_JTI or not jti.isprintable():
        raise ProofMalformed(f"jti must have 1 to {MAX_JTI} printable characters")
    if not (isinstance(nonce, str) if issued_at is None else nonce is None and type(issued_at) is int):
        raise ProofMalformed("The claims must have either nonce (a string) or iat (an integer)")
    if (method, body_hash) != (call.method, _digest(call.body)) or not _is_for(url, call):
        raise ProofMismatch(
            log=f"{method[:9]!r} {url[:200]!r} is not {call.method} {call.url[:200]!r}, or the body differs"
        )
    return VerifiedProof(jti, nonce, issued_at)


def _claims(proof: UnverifiedProof, leaf: Certificate) -> dict[str, Any]:
    try:
        key = leaf.public_key()
    except (KeyRefused, NotDer) as error:
        raise ProofSignatureInvalid(log=repr(error)) from error
    # The key must be one for the algorithm; ES256 is for P-256 only (RFC 7518 section 3.4).
    fits = isinstance(key, _KEYS[proof.algorithm])
    if not fits or (isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, ec.SECP256R1)):
        raise ProofSignatureInvalid(log=f"{proof.algorithm} with {key!r}")
    # PyJWT's checks of claims are off, since a proof has other claims than a token. `verify` checks them.
    unchecked = {f"verify_{claim}": False for claim in ("aud", "exp", "iat", "iss", "jti", "nbf", "sub")}
    try:
        return jwt.decode(proof.token, key, algorithms=[proof.algorithm], options=unchecked)  # type: ignore[arg-type]
    except jwt.InvalidSignatureError as error:
        raise ProofSignatureInvalid from error
    except (jwt.InvalidTokenError, RecursionError) as error:
        raise ProofMalformed(log=repr(error)) from error


def _is_for(url: str, call: Call) -> bool:
    wanted = _normal(call.url)
    return wanted is not None and _normal(url) == wanted


def _normal(url: str) -> tuple[str, str, tuple[str, ...], str] | None:
    """Return the parts of a URL in a form in which equivalent URLs are equal (RFC 3986, 6.2.2 and 6.2.3).

    None stands for a text that is no URL, which is equivalent to none.
    """
    # urlsplit leaves out line ends and spaces at the ends, so two texts would have the same parts.
    if not _VISIBLE.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), parts.netloc.lower()
    if scheme == "https":
        host = _DEFAULT_PORT.sub("", host)
    # API Gateway decodes the path that it hands over. Segments are decoded one by one, so that an encoded
    # slash does not become a separator.
    path = tuple(unquote(segment) for segment in (parts.path or "/").split("/"))
    return scheme, host, path, f"{_unreserved(parts.query)}#{parts.fragment}"


def _unreserved(query: str) -> str:
    """Return a query with the escapes of unreserved characters decoded, and the others in upper case."""

    def decoded(escape: re.Match[str]) -> str:
        character = chr(int(escape[1], 16))
        return character if _UNRESERVED.fullmatch(character) else escape[0].upper()

    return _ESCAPE.sub(decoded, query)


def _digest(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")
