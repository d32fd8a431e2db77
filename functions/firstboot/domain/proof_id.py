"""The identity of a signed proof, by which its use is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ProofId:
    """The identity of a signed proof: the `digest` (hex) of its certificate's fingerprint and its `jti`.

    From `expires_at` on the proof would be refused as stale, so the row that records its use can go.
    `has_nonce` says whether the proof is fresh by the server's nonce, and not by its own time.
    """

    digest: str
    expires_at: datetime
    has_nonce: bool
