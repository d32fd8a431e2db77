"""Commit by connecting: a device's first connection to AWS IoT with a pending certificate commits it.

A device that has connected with the certificate has proved that it holds the key. The steps:

1. The client id is a device's, and its record has a pending certificate. Otherwise there is nothing to do.
   All connections but a certificate's first end here, after one read.
2. The connection's certificate is this record's own.
3. The connection is a login like any other (identity/login.py), which commits the pending certificate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from firstboot.domain.names import device_id
from firstboot.identity.connection import Connected, Connection
from firstboot.identity.login import LogIn, VerifiedIdentity


@dataclass(frozen=True)
class CommitByConnecting:
    """The use case that logs a device in because it has connected to AWS IoT."""

    connected: Connected
    log_in: LogIn

    def __call__(self, connection: Connection, now: datetime) -> VerifiedIdentity | None:
        """Return the identity that the connection has committed, or None if there was nothing to commit.

        A repeat of the same event finds nothing pending. Raises what Connected and LogIn raise.
        """
        device = self.log_in.records.device(device_id(connection.client_id))  # 1
        if device is None or device.pending is None:
            return None
        # A connection asks for nothing, so it is open to the devices of every way.
        presented = replace(self.connected(connection, None), way=None)  # 2
        return self.log_in(presented, now)  # 3
