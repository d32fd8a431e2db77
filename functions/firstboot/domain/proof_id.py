"""The identity of a signed proof, under which it is spent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ProofId:
    """What a signed proof is known by: `digest` (hex) of its certificate and `jti`. From
    `expires_at` (epoch seconds) on it is stale anyway.
    """

    digest: str
    expires_at: int
