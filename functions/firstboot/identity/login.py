"""Who is calling: an operational certificate becomes a verified identity.

1. The certificate chains to our issuing CA and is valid; a signed proof is spent. An MQTT
   connection has the device's id for its client id.
2. Its device's record says it is the active certificate, or the pending one: by its serial and its key.
3. A pending one is committed: this login is the proof that the device has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from firstboot.domain.device import Device, committed, login
from firstboot.domain.errors import OperationalCertificateRequired
from firstboot.domain.names import device_id
from firstboot.domain.ports import Registry
from firstboot.identity.possession import Presented, check_client_id, check_key, spend
from firstboot.pki import chain


@dataclass(frozen=True)
class VerifiedIdentity:
    """A device that has proved itself with a certificate that is its own now."""

    device: Device
    certificate_id: str


def authenticate(
    presented: Presented, ca: x509.Certificate, registry: Registry, now: datetime
) -> VerifiedIdentity:
    """The identity behind an operational certificate; commits it on first use.

    Raises AuthenticationError, OperationalCertificateRequired, DeviceIdMismatch,
    CertificateNotCurrent, CertificateForged, DeviceRevoked, Unavailable.
    """
    leaf = presented.leaf
    if not chain.issued_by(leaf, ca):
        # Whoever else issued it: it is no identity here.
        raise OperationalCertificateRequired
    chain.verify(leaf, [ca], now)  # 1
    spend(presented, registry)
    certificate_id = chain.fingerprint(leaf)
    name = device_id(chain.common_name(leaf))
    check_client_id(presented, name)
    device = registry.device(name)  # 2
    if device:
        check_key(leaf, device)
    found = login(device, f"{leaf.serial_number:x}")
    if found.pending is None:
        return VerifiedIdentity(found.device, certificate_id)
    now_active = committed(found.device, certificate_id, now)
    return VerifiedIdentity(registry.commit(now_active, leaf), certificate_id)  # 3
