"""The issuers of the tokens that devices connect with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Algorithm = Literal["RS256", "PS256", "ES256"]
"""Signature algorithms of tokens. HMAC is excluded: its key would be a secret that Firstboot shares with the
issuer, and with which Firstboot could make tokens."""


@dataclass(frozen=True)
class TokenIssuer:
    """A token issuer for the devices of `groups`.

    `issuer` is the exact `iss` claim of its tokens. `jwks` is the URL of the JWK set with its public keys.
    Its tokens are signed with one of `algorithms`.
    """

    name: str
    issuer: str
    jwks: str
    algorithms: tuple[Algorithm, ...]
    groups: tuple[str, ...]
