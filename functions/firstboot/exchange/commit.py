"""Commit by connecting: a device's first connection to AWS IoT with a pending certificate commits it.

1. The client id is a device's, and its record has a pending certificate: else there is nothing to do.
2. The connection's certificate is this record's own.
3. It is a login like any other (identity/login.py), which commits the pending certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from firstboot.domain.names import device_id
from firstboot.identity.connection import Connected, Connection
from firstboot.identity.login import LogIn, VerifiedIdentity


@dataclass(frozen=True)
class CommitByConnecting:
    """Log a device in that has connected to AWS IoT."""

    connected: Connected
    log_in: LogIn

    def __call__(self, connection: Connection, now: datetime) -> VerifiedIdentity | None:
        """Return the identity that has logged in by connecting; None if there was nothing to commit.

        Raises what Connected and LogIn raise.
        """
        device = self.log_in.records.device(device_id(connection.client_id))  # 1
        if device is None or device.pending is None:
            return None
        return self.log_in(self.connected(connection, None), now)  # 2, 3
