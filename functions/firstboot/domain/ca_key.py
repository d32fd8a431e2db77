"""The description of the CA's key that KMS gives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class KeyDescription:
    """A key's state, and the times at which KMS deletes the key and imported key material, if it does."""

    state: str
    deletion: datetime | None = None
    expiry: datetime | None = None


@dataclass(frozen=True)
class KeyGrant:
    """A grant on a key: its id, the principal that it is for, and the operations that it allows."""

    grant_id: str
    grantee: str
    operations: tuple[str, ...]
