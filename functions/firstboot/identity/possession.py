"""Certificates whose key the caller has proved to hold, with one class for each means of proof.

Nothing else has been verified yet. `admission` verifies a bootstrap certificate, `login` an operational one.
`way` is the way in which the caller asks; None for a mere connection to AWS IoT, which asks for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.domain.names import DeviceId
from firstboot.domain.proof_id import ProofId
from firstboot.domain.ways import Way
from firstboot.identity.errors import DeviceIdMismatch
from firstboot.pki.certificate import Certificate


@dataclass(frozen=True)
class OverTls:
    """The certificate of a TLS client. The handshake proved possession."""

    leaf: Certificate
    way: Way = "mtls"


@dataclass(frozen=True)
class Proven:
    """The certificate of a signed proof, with the intermediates that came with it.

    The use of `proof` is recorded only after the certificate was verified, so that unauthenticated requests
    cannot write to the table.
    """

    leaf: Certificate
    intermediates: tuple[Certificate, ...]
    proof: ProofId
    way: Way = "proof"


@dataclass(frozen=True)
class OverMqtt:
    """The certificate that an MQTT client sent. It is the certificate of the client's connection."""

    leaf: Certificate
    client_id: str
    way: Way | None = "mqtt"


@dataclass(frozen=True)
class Recorded:
    """The certificate of an MQTT connection, found in the record of the device with that client id."""

    leaf: Certificate
    client_id: str
    device_id: DeviceId
    way: Way | None = "mqtt"


Presented = OverTls | Proven | OverMqtt | Recorded


def proof_of(presented: Presented) -> ProofId | None:
    """Return the proof whose use must be recorded; None if the connection proved possession."""
    return presented.proof if isinstance(presented, Proven) else None


def check_client_id(presented: Presented, own: str) -> None:
    """Refuse an MQTT connection whose client id is not `own`, the id that its certificate entitles it to.

    Raises DeviceIdMismatch.
    """
    if isinstance(presented, OverMqtt | Recorded) and presented.client_id != own:
        raise DeviceIdMismatch(log=f"{own} connected as {presented.client_id[:128]!r}")
