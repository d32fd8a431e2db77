"""The identity of a signed proof, under which it is spent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ProofId:
    """Identify a signed proof by the `digest` (hex) of its certificate and `jti`. From `expires_at` on the
    proof is stale, so its row is needed no longer.
    """

    digest: str
    expires_at: datetime
