"""Verify tokens: JWTs (RFC 7519) that a token issuer of the fleet makes for a device.

    {"typ": "at+jwt" or "JWT", "alg": …, "kid": …}
    {"iss": …, "aud": …, "sub": the device id, "exp": …, "nbf"?: …, "iat"?: …}

The rules follow RFC 8725 (JWT best current practices). The fleet and the key decide the algorithm. The type
keeps out other kinds of JWT, signed proofs above all. The header can only name a key, and only one of an
issuer that the fleet knows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from firstboot.domain.clock import from_epoch
from firstboot.domain.token_issuer import TokenIssuer
from firstboot.pki.errors import (
    TokenAudienceWrong,
    TokenExpired,
    TokenMalformed,
    TokenNotYetValid,
    TokenUntrusted,
)
from firstboot.pki.signature import is_strong

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

TYPES = ("at+jwt", "jwt")
"""Types of a token (RFC 9068 section 2.1, RFC 7519 section 5.1). Media types ignore case."""

MAX_LENGTH = 6_144
"""Characters of a token. The limit is AWS IoT's."""

LEEWAY = 60
"""Seconds by which an issuer's clock may be ahead of Firstboot's (RFC 7519 section 4.1.5). `exp` gets no
leeway, since that would extend a token's life."""

_YEAR_10000 = 253_402_300_800
"""Epoch seconds that no datetime can hold."""

# With a key or a URL of a key in the header, the sender would choose the key that the token is verified with.
# `crit` would demand an extension that is not implemented.
_REFUSED = frozenset({"jwk", "jku", "x5c", "x5u", "crit"})


@dataclass(frozen=True)
class SigningKey:
    """An issuer's public key. `algorithm` is the only one that it may be used with, if not None."""

    public: PublicKey
    algorithm: str | None


@dataclass(frozen=True, repr=False)
class UnverifiedToken:
    """A parsed token, with the members that select the key to verify it with.

    It has no repr, so that a log cannot show a token by accident.
    """

    text: str
    issuer: str
    algorithm: str
    key_id: str


@dataclass(frozen=True)
class VerifiedToken:
    """The statement of a token's issuer about the device `subject`. `expires_at` is in whole seconds."""

    subject: str
    expires_at: datetime


def parse(text: str) -> UnverifiedToken:
    """Return a token with its header and its issuer's name read, unverified.

    Raises TokenMalformed.
    """
    if len(text) > MAX_LENGTH:
        raise TokenMalformed(log=f"{len(text)} characters")
    # The issuer's name selects the key, so it must be read before the signature can be checked.
    try:
        unverified = jwt.decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise TokenMalformed(log=repr(error)[:200]) from error
    header, claims = unverified["header"], unverified["payload"]
    if _REFUSED & header.keys():
        raise TokenMalformed(log=f"the header has {sorted(_REFUSED & header.keys())}")
    if str(header.get("typ")).lower() not in TYPES:
        raise TokenMalformed(log=f"typ {str(header.get('typ'))[:80]!r}")
    match header.get("alg"), header.get("kid"), claims.get("iss"):
        case str(algorithm), str(key_id), str(issuer) if key_id:
            return UnverifiedToken(text, issuer, algorithm, key_id)
        case _:
            raise TokenMalformed(log="alg, kid and iss must be strings")


def verify(
    token: UnverifiedToken, issuer: TokenIssuer, key: SigningKey, audience: str, now: datetime
) -> VerifiedToken:
    """Check that `issuer` signed the token with `key` for `audience`, and that it is valid at `now`.

    Raises TokenUntrusted, TokenMalformed, TokenAudienceWrong, TokenExpired, TokenNotYetValid.
    """
    _check_algorithm(token, issuer, key)
    claims = _claims(token, issuer, key, audience)
    expires_at = _time(claims, "exp")
    if expires_at <= now.timestamp():
        raise TokenExpired
    if max(_time(claims, "nbf"), _time(claims, "iat")) > now.timestamp() + LEEWAY:
        raise TokenNotYetValid
    return VerifiedToken(claims["sub"], from_epoch(int(expires_at)))


def _check_algorithm(token: UnverifiedToken, issuer: TokenIssuer, key: SigningKey) -> None:
    """Refuse an algorithm that the fleet does not name for the issuer, or that the key is not for.

    The token's header must not choose the algorithm (RFC 8725 section 3.1).
    """
    # ES256 is for P-256 only (RFC 7518 section 3.4).
    fits = (
        isinstance(key.public, ec.EllipticCurvePublicKey) and isinstance(key.public.curve, ec.SECP256R1)
        if token.algorithm == "ES256"
        else isinstance(key.public, rsa.RSAPublicKey) and is_strong(key.public)
    )
    if token.algorithm not in issuer.algorithms or not fits or key.algorithm not in (None, token.algorithm):
        raise TokenUntrusted(log=f"algorithm {token.algorithm[:80]!r} with key {token.key_id[:80]!r}")


def _claims(token: UnverifiedToken, issuer: TokenIssuer, key: SigningKey, audience: str) -> dict[str, Any]:
    # PyJWT would compare these with the system clock; `verify` compares them with `now`.
    times: Any = {f"verify_{name}": False for name in ("exp", "nbf", "iat")}
    try:
        return jwt.decode(
            token.text,
            key.public,
            algorithms=[token.algorithm],
            audience=audience,
            issuer=issuer.issuer,
            options={"require": ["iss", "aud", "exp", "sub"]} | times,
        )
    except (jwt.InvalidSignatureError, jwt.InvalidIssuerError) as error:
        raise TokenUntrusted(log=repr(error)) from error
    except jwt.InvalidAudienceError as error:
        raise TokenAudienceWrong from error
    except jwt.PyJWTError as error:
        raise TokenMalformed(log=repr(error)[:200]) from error


def _time(claims: dict[str, Any], name: str) -> float:
    """Return the NumericDate `name` (RFC 7519 section 2) in epoch seconds; 0 if the claim is absent.

    Raises TokenMalformed.
    """
    value = claims.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _YEAR_10000:
        raise TokenMalformed(log=f"{name} is not a time")
    return value


def signing_keys(document: bytes) -> dict[str, SigningKey]:
    """Return the signing keys of a JWK set by `kid`.

    Keys of an unsupported kind or for another use are left out (RFC 7517 section 5).
    Raises ValueError if `document` is not a JWK set.
    """
    try:
        parsed = json.loads(document)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error
    match parsed:
        case {"keys": list(members)}:
            found = (_signing_key(member) for member in members if isinstance(member, dict))
            return dict(pair for pair in found if pair)
        case _:
            raise ValueError("not a JWK set")


def _signing_key(jwk: dict[str, Any]) -> tuple[str, SigningKey] | None:
    match jwk:
        # To compute with the parts of a private key can take minutes, and a set has public keys only.
        case {"kid": str(key_id), "kty": "RSA" | "EC" as kind} if (
            jwk.get("use", "sig") == "sig" and "d" not in jwk
        ):
            reader = RSAAlgorithm if kind == "RSA" else ECAlgorithm
        case _:
            return None
    try:
        key = reader.from_jwk(jwk)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return (key_id, SigningKey(key, jwk.get("alg"))) if isinstance(key, PublicKey) else None
