"""A device has connected to AWS IoT: the first login with a pending certificate commits it.

1. The client id is a device's, and its record has a pending certificate: else there is nothing to do.
2. The connection's certificate is this record's own.
3. It is a login like any other (authentication.py), which commits the pending one.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from firstboot.domain.names import device_id
from firstboot.domain.ports import CertificateStore, Registry
from firstboot.identity.login import VerifiedIdentity, authenticate
from firstboot.identity.possession import Connection, connected


def log_in(
    connection: Connection, ca: x509.Certificate, registry: Registry, store: CertificateStore, now: datetime
) -> VerifiedIdentity | None:
    """The device that has logged in by connecting; None if there was nothing to commit.

    Raises what possession.connected and authentication.authenticate raise.
    """
    device = registry.device(device_id(connection.client_id))  # 1
    if device is None or device.pending is None:
        return None
    presented = connected(connection, None, registry, store)  # 2
    return authenticate(presented, ca, registry, now)  # 3
