"""The identity of a signed proof or a one-time password, by which its use is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ProofId:
    """The identity of evidence that may be used once. `digest` is a SHA-256 (hex).

    It is that of a signed proof's certificate and `jti`, or that of a one-time password. From `expires_at` on
    the proof would be refused as stale, so the row that records its use can go. `has_nonce` says whether the
    proof is fresh by the server's nonce, and not by its own time. `used_for` is the SHA-256 (hex) of the key
    that a one-time password is used for: a repeat with the same key is no second use. It is None for a signed
    proof, which a device signs anew for each repeat.
    """

    digest: str
    expires_at: datetime
    has_nonce: bool
    used_for: str | None = None
