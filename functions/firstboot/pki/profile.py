"""What our certificates look like (RFC 5280): the issuing CA's, the operational ones, and the bootstrap
ones that a factory makes with us. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import CertificateRecord
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import CertificatePlan
from firstboot.domain.names import DeviceId
from firstboot.pki.signature import DevicePublicKey

BACKDATE = timedelta(minutes=5)
"""How far a certificate starts in the past, for devices whose clock is slow."""

CA_NOTICE_DAYS = 90
"""How long a new CA may take to arrange."""

RENEWAL_SPREAD = 0.25
"""The part of the time between renewal and end over which renewals spread."""


@dataclass(frozen=True)
class Issuer:
    """A CA: its certificate and its key. The issuing CA's is in production one that only KMS holds."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


def plan(
    spki: str, serial: int, plan: CertificatePlan, ca: x509.Certificate, now: datetime
) -> CertificateRecord:
    """Decide an operational certificate's times.

    It starts BACKDATE before `now` and ends before its CA does. Renewal falls due at a moment spread
    by the serial, which is random, so that devices that boot together do not renew together.
    Raises Unavailable when the CA is about to end.
    """
    start = whole_seconds(now)
    not_before = start - BACKDATE
    not_after = min(start + plan.lifetime, ca.not_valid_after_utc - timedelta(seconds=1))
    if not_after <= start:
        raise Unavailable(log="the issuing CA has expired")
    spread = (serial % 1_000) / 1_000 * RENEWAL_SPREAD
    share = plan.renew_at + (1 - plan.renew_at) * spread
    renew_after = not_before + timedelta(seconds=int((not_after - not_before).total_seconds() * share))
    return CertificateRecord(
        serial=f"{serial:x}",
        spki=spki,
        not_before=not_before,
        not_after=not_after,
        renew_after=renew_after,
    )


def operational_certificate(
    issuer: Issuer, device_id: DeviceId, key: DevicePublicKey, record: CertificateRecord
) -> x509.Certificate:
    """Sign the operational certificate that `record` describes.

    The same record gives the same TBS, byte for byte, at any time.
    """
    period = record.not_before, record.not_after
    return _client_certificate(issuer, device_id, key, int(record.serial, 16), period)


def bootstrap_certificate(
    issuer: Issuer, common_name: str, key: DevicePublicKey, now: datetime, not_after: datetime
) -> x509.Certificate:
    """Sign a bootstrap certificate with a factory's CA; it starts a little before `now`.

    `common_name` is the device's id, or any name for a claim certificate that devices share.
    """
    period = now - BACKDATE, not_after
    return _client_certificate(issuer, common_name, key, x509.random_serial_number(), period)


def authority_certificate(
    key: ec.EllipticCurvePrivateKey, subject: str, now: datetime, years: int
) -> x509.Certificate:
    """The self-signed issuing CA: no CA may stand under it (pathlen 0)."""
    start = whole_seconds(now) - BACKDATE
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _lifetime(years))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def authority_differs(certificate: x509.Certificate, subject: str, years: int) -> str | None:
    """How an issuing CA differs from what `authority_certificate` would make; None if it does not."""
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    if certificate.subject == _name(subject) and lifetime == _lifetime(years):
        return None
    return f"{certificate.subject.rfc4514_string()}, {lifetime.days} days"


def _lifetime(years: int) -> timedelta:
    return timedelta(days=365 * years)


def _client_certificate(
    issuer: Issuer,
    common_name: str,
    key: DevicePublicKey,
    serial: int,
    period: tuple[datetime, datetime],
) -> x509.Certificate:
    not_before, not_after = period
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer.certificate.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_authority_key_identifier(issuer.certificate), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def _authority_key_identifier(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The CA's own key identifier, however it was made (RFC 5280 section 4.2.1.1)."""
    try:
        own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(cast("DevicePublicKey", ca.public_key()))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
