"""Build the certificates (RFC 5280) of the issuing CA, of devices, and of a factory's bootstrap."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import CertificateRecord
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId
from firstboot.domain.plans import CertificatePlan
from firstboot.pki.signature import DevicePublicKey

BACKDATE = timedelta(minutes=5)
"""How long before its issuance a certificate begins, so that a device with a slow clock accepts it."""

CA_NOTICE_DAYS = 90
"""Days of warning before the CA's end begins to shorten certificates. Arranging a new CA takes a while."""

RENEWAL_SPREAD = 0.25
"""The part of the time between the earliest renewal and the end over which renewals are spread."""


@dataclass(frozen=True)
class Issuer:
    """A CA's certificate and key. The issuing CA's `key` is a handle to a key that only KMS holds."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def pem(self) -> bytes:
        """Return the certificate in PEM."""
        return self.certificate.public_bytes(Encoding.PEM)


def plan(
    spki: str, serial: int, plan: CertificatePlan, ca: x509.Certificate, now: datetime
) -> CertificateRecord:
    """Return the record of a new operational certificate for the key with the hash `spki`.

    The certificate begins BACKDATE before `now` and ends before its CA does. One that the CA's end shortens
    is not due for renewal before its own end.
    Raises Unavailable if the CA has ended, or ends at once.
    """
    start = whole_seconds(now)
    not_before = start - BACKDATE
    # A certificate that outlived its CA would be refused before its own end.
    not_after = min(start + plan.lifetime, ca.not_valid_after_utc - timedelta(seconds=1))
    if not_after <= start:
        raise Unavailable(log="the issuing CA has expired")
    is_whole = not_after == start + plan.lifetime
    # After a certificate that ends with the CA, the next one would not end later. If a fraction of what is
    # left decided, the fleet would renew ever faster towards the CA's end.
    renew_after = _renew_after(not_before, not_after, plan, serial) if is_whole else not_after
    return CertificateRecord(
        serial=f"{serial:x}",
        spki=spki,
        not_before=not_before,
        not_after=not_after,
        renew_after=renew_after,
    )


def _renew_after(not_before: datetime, not_after: datetime, plan: CertificatePlan, serial: int) -> datetime:
    # The serial is random, so devices that boot together do not renew together, and this function stays pure.
    spread = (serial % 1_000) / 1_000 * RENEWAL_SPREAD
    share = plan.renew_at + (1 - plan.renew_at) * spread
    return not_before + timedelta(seconds=int((not_after - not_before).total_seconds() * share))


def operational_certificate(
    issuer: Issuer, device_id: DeviceId, key: DevicePublicKey, record: CertificateRecord
) -> x509.Certificate:
    """Sign the operational certificate that `record` describes.

    The same record always gives the same TBS bytes, so an exchange that stopped between the claim and the
    signature can be completed later.
    """
    period = record.not_before, record.not_after
    return _client_certificate(issuer, device_id, key, int(record.serial, 16), period)


def bootstrap_certificate(
    issuer: Issuer,
    common_name: str,
    key: DevicePublicKey,
    now: datetime,
    not_after: datetime,
    placed: Mapping[str, str] = MappingProxyType({}),
) -> x509.Certificate:
    """Sign a bootstrap certificate with a factory's CA. It begins BACKDATE before `now`.

    `common_name` is the device id, or any name for a claim certificate. `placed` are values of other fields,
    by the source that reads them (domain/fleet.py, Naming).
    """
    period, serial = (now - BACKDATE, not_after), x509.random_serial_number()
    return _client_certificate(issuer, common_name, key, serial, period, placed)


def placed(group: Group, device_id: str) -> dict[str, str] | None:
    """Return what `bootstrap_certificate` must place beside the common name to name a device of the group.

    None if a certificate can't be made for a name: the id is the hash of a key, a pattern takes it out of a
    longer text, or it is only a part of the common name.
    """
    value = f"{group.strip_prefix}{device_id}{group.strip_suffix}"
    if group.pattern or group.device_id == "key.sha256":
        return None
    if group.device_id == "subject.CN":
        return {} if value == device_id else None
    return {} if group.is_shared else {group.device_id: value}


def unwritable(group: Group, device_id: str) -> str | None:
    """Return why no certificate of the group can have what names the device, or None if one can.

    The attribute serialNumber is a PrintableString (RFC 5280 appendix A.1), which has no `_`.
    """
    value = (placed(group, device_id) or {}).get("subject.serialNumber", "")
    if re.fullmatch(r"[A-Za-z0-9 '()+,./:=?-]*", value):
        return None
    allowed = "A-Z a-z 0-9 ' ( ) + , - . / : = ? and spaces"
    return f"the attribute serialNumber can't hold {value!a}: it has {allowed}"


def authority_certificate(
    key: ec.EllipticCurvePrivateKey, subject: str, now: datetime, years: int
) -> x509.Certificate:
    """Return a new self-signed certificate for the issuing CA, valid for `years` of 365 days."""
    start = whole_seconds(now) - BACKDATE
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _lifetime(years))
        # A path length of 0 means that no further CA may stand between this one and a device.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def authority_differs(certificate: x509.Certificate, subject: str, years: int) -> str | None:
    """Return the name and lifetime of an issuing CA if they are not `subject` and `years`, else None."""
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
    placed: Mapping[str, str] = MappingProxyType({}),
) -> x509.Certificate:
    not_before, not_after = period
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name, placed.get("subject.serialNumber")))
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
    )
    kinds = {"san.uri": x509.UniformResourceIdentifier, "san.dns": x509.DNSName}
    if names := [kind(placed[source]) for source, kind in kinds.items() if source in placed]:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def _authority_key_identifier(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the identifier of the CA's key, equal to the one in the CA's own certificate.

    RFC 5280 section 4.2.1.1 requires them to be equal. Another CA may have computed its identifier by another
    method, so it is computed anew only if the certificate has none.
    """
    try:
        own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(cast("DevicePublicKey", ca.public_key()))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _name(common_name: str, serial_number: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if serial_number is not None:
        parts.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number))
    return x509.Name(parts)


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
