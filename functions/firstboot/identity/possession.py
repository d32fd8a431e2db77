"""Whose key is calling: a certificate and the evidence that its key's holder sent this call.

Over mTLS the handshake is the evidence. Else it is a signed proof:

1. The proof parses, and is of a kind we take.
2. Its certificate is in it, or is one of ours that its thumbprint names.
3. The certificate's key signed it, for this call.
4. It is fresh: by a nonce of ours, or by its time.

A proof may be used once. It is *spent* by who has verified the certificate, not here: else anyone
with a key could fill the registry.

Over MQTT AWS IoT's handshake is the evidence, and its certificate id (`principal()` in a topic rule)
says whose. The certificate itself is sent by who has a bootstrap certificate, and must have that id;
else it is one that the record of the device with that client id names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from firstboot.domain.clock import epoch, from_epoch
from firstboot.domain.device import Device
from firstboot.domain.errors import (
    CertificateForged,
    CertificateNotCurrent,
    CertificateUnknown,
    DeviceIdMismatch,
    PrincipalMismatch,
    ProofReplayed,
    ProofRequired,
    ProofStale,
)
from firstboot.domain.names import CERTIFICATE_ID, DeviceId, device_id
from firstboot.domain.ports import CertificateStore, Registry
from firstboot.domain.proof_id import ProofId
from firstboot.pki import chain, csr, nonce, proof

CLOCK_SECONDS = 300
"""How far the clock of a device that proves without a nonce may be off, either way."""

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Presented:
    """A certificate whose key's holder is the caller: that, and nothing else, has been verified.

    `intermediates` came with it. `proof` is what must be spent before anything is done; None over
    mTLS. `client_id` is the MQTT connection's, which must be the device's own; None over HTTPS.
    `recorded_as` is the device whose record names this very certificate, where that is how it was
    found.
    """

    leaf: x509.Certificate
    intermediates: tuple[x509.Certificate, ...] = ()
    proof: ProofId | None = None
    client_id: str | None = None
    recorded_as: DeviceId | None = None


@dataclass(frozen=True)
class Connection:
    """An MQTT connection as AWS IoT knows it. `principal` is a certificate's id (SHA-256, hex), or
    something else for who came without one.
    """

    client_id: str
    principal: str


def prove(token: str, call: proof.Call, registry: Registry, now: datetime) -> Presented:
    """Return the certificate behind a signed proof for `call`.

    Raises ProofError, CertificateMalformed, Unavailable.
    """
    unverified = proof.parse(token)  # 1
    leaf = _leaf(unverified, registry)  # 2
    verified = proof.verify(unverified, leaf, call)  # 3
    expires_at = _end(verified, registry, now)  # 4
    used = hashlib.sha256(f"{unverified.thumbprint}:{verified.jti}".encode()).hexdigest()
    return Presented(leaf, unverified.certificates[1:], ProofId(used, expires_at))


def connected(
    connection: Connection, shown: str | None, registry: Registry, store: CertificateStore
) -> Presented:
    """The certificate of an MQTT connection; `shown` is that certificate as its client sends it, in
    PEM or base64 DER, None where the client leaves it to the device's record.

    Raises ProofRequired, PrincipalMismatch, CertificateMalformed, DeviceIdInvalid,
    CertificateNotCurrent, Unavailable.
    """
    if not CERTIFICATE_ID.fullmatch(connection.principal):
        raise ProofRequired(log=f"principal {connection.principal[:80]!r}")
    if shown is None:
        return _recorded(connection, registry, store)
    leaf = chain.parse_text(shown)
    if chain.fingerprint(leaf) != connection.principal:
        raise PrincipalMismatch(log=f"{chain.fingerprint(leaf)} shown by {connection.principal}")
    return Presented(leaf, client_id=connection.client_id)


def _recorded(connection: Connection, registry: Registry, store: CertificateStore) -> Presented:
    name = device_id(connection.client_id)
    device = registry.device(name)
    certificates = (device.active, device.pending, device.superseded) if device else ()
    for each in certificates:
        # A pending one's id is not written down before its first login: look at the certificate.
        if each and each.certificate_id in (None, connection.principal):
            leaf = _stored(name, each.serial, store)
            if leaf and chain.fingerprint(leaf) == connection.principal:
                return Presented(leaf, client_id=connection.client_id, recorded_as=name)
    raise CertificateNotCurrent(log=f"{name}'s record has no certificate {connection.principal}")


def _stored(name: DeviceId, serial: str, store: CertificateStore) -> x509.Certificate | None:
    stored = store.get(name, serial)
    return x509.load_pem_x509_certificates(stored)[0] if stored else None


def check_client_id(presented: Presented, own: str) -> None:
    """Refuse an MQTT connection that has another client id than its `own`.

    Raises DeviceIdMismatch.
    """
    if presented.client_id not in (None, own):
        raise DeviceIdMismatch(log=f"{own} connected as {str(presented.client_id)[:128]!r}")


def check_key(leaf: x509.Certificate, device: Device) -> None:
    """Refuse a certificate of our CA that has the serial of one in the device's record, but another key.

    There is no innocent way to have one: somebody else makes the CA's key sign. The serial alone is no
    secret, and would let them be any device.

    Raises CertificateForged.
    """
    serial, spki = f"{leaf.serial_number:x}", csr.certificate_spki(leaf)
    for record in (device.active, device.pending, device.superseded):
        if record and record.serial == serial and record.spki != spki:
            raise CertificateForged(log=f"{device.device_id}'s certificate {serial} has another key: {spki}")


def _leaf(unverified: proof.UnverifiedProof, registry: Registry) -> x509.Certificate:
    if unverified.certificates:
        return unverified.certificates[0]
    known = registry.certificate(unverified.thumbprint)
    if known is None:
        raise CertificateUnknown
    return known


def _end(verified: proof.VerifiedProof, registry: Registry, now: datetime) -> datetime:
    """Return the time from which the proof is stale.

    Raises ProofStale if it already is.
    """
    if verified.issued_at is not None:
        # The device may send any integer, so it becomes a datetime only once it is near `now`.
        age = epoch(now) - verified.issued_at
        if abs(age) > CLOCK_SECONDS:
            raise ProofStale(fresh_nonce(registry, now), log=f"iat is {age} s ago")
        return from_epoch(verified.issued_at + CLOCK_SECONDS + 1)
    given = verified.nonce or ""
    made_at = nonce.made_at(given)
    # Look for the keys of recent days only: a nonce's own time must not make us write rows.
    if made_at is None or not nonce.is_fresh(made_at, now):
        raise ProofStale(fresh_nonce(registry, now), log="nonce is too old, or none of ours")
    if not nonce.is_good(given, registry.nonce_key(made_at.date()), now):
        raise ProofStale(fresh_nonce(registry, now), log="nonce is not ours")
    return made_at + nonce.LIFETIME + _SECOND


def fresh_nonce(registry: Registry, now: datetime) -> str:
    """Make a nonce for the next proof.

    Raises Unavailable.
    """
    return nonce.make(registry.nonce_key(now.date()), now)


def spend(presented: Presented, registry: Registry) -> None:
    """Use up the proof, if there is one.

    Raises ProofReplayed, Unavailable.
    """
    if presented.proof and not registry.spend(presented.proof):
        raise ProofReplayed
