"""Possession of a certificate's key over MQTT.

AWS IoT verified the certificate in the handshake and passes on its id only. A client with a bootstrap
certificate sends the certificate in its request, and it must have that id. Any other certificate is found
in the record of the device with the connection's client id. From there on it is verified like a certificate
that came over HTTPS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from firstboot.domain.device import Device
from firstboot.domain.errors import CertificateNotCurrent
from firstboot.domain.names import CERTIFICATE_ID, DeviceId, device_id
from firstboot.identity.errors import PrincipalMismatch, ProofRequired
from firstboot.identity.possession import OverMqtt, Recorded
from firstboot.pki import certificate
from firstboot.pki.certificate import Certificate


@dataclass(frozen=True)
class Connection:
    """An MQTT connection, as AWS IoT describes it.

    `principal` is the id of the connection's certificate (SHA-256, hex). For a client that connected without
    a certificate it is an identity of another kind.
    """

    client_id: str
    principal: str


class Records(Protocol):
    """The device records. The method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""


class Issued(Protocol):
    """The issued certificates. The method raises Unavailable when AWS does not answer."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None if the certificate has not been issued."""


@dataclass(frozen=True)
class Connected:
    """The lookup of the certificate of an MQTT connection."""

    records: Records
    issued: Issued

    def __call__(self, connection: Connection, shown: str | None) -> OverMqtt | Recorded:
        """Return the certificate of `connection`.

        `shown` is the certificate that the client sent, in PEM or base64 DER. It is None if the client sent
        none; the certificate is then in the device's record.
        Raises ProofRequired, PrincipalMismatch, CertificateMalformed, DeviceIdInvalid,
        CertificateNotCurrent, Unavailable.
        """
        if not CERTIFICATE_ID.fullmatch(connection.principal):
            raise ProofRequired(log=f"principal {connection.principal[:80]!r}")
        if shown is None:
            return self._recorded(connection)
        leaf = certificate.parse_text(shown)
        if leaf.fingerprint != connection.principal:
            raise PrincipalMismatch(log=f"{connection.principal} sent {leaf.fingerprint}")
        return OverMqtt(leaf, connection.client_id)

    def _recorded(self, connection: Connection) -> Recorded:
        name = device_id(connection.client_id)
        device = self.records.device(name)
        certificates = (device.active, device.pending, device.superseded) if device else ()
        for each in certificates:
            # The id of a pending certificate is recorded at its first login only, so the stored certificate
            # is compared.
            if each and each.certificate_id in (None, connection.principal):
                leaf = self._stored(name, each.serial)
                if leaf and leaf.fingerprint == connection.principal:
                    return Recorded(leaf, connection.client_id, name)
        raise CertificateNotCurrent(log=f"{name}'s record has no certificate {connection.principal}")

    def _stored(self, name: DeviceId, serial: str) -> Certificate | None:
        # The stored chain has the device's certificate first.
        stored = self.issued.get(name, serial)
        return certificate.parse_text(stored.decode()) if stored else None
