"""Certificates that no library writes: another's bytes are changed and signed again (verify/encodings.py)."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.pki import certificate, der
from firstboot.pki.certificate import Certificate
from tests.factories import Authority
from verify.encodings import (
    ALGORITHM,
    EXTENSIONS,
    KEY,
    SERIAL,
    SHA256_ECDSA,
    SUBJECT,
    VALIDITY,
    VERSION,
    Change,
    oid,
    resigned,
    tlv,
)

__all__ = [
    "ALGORITHM",
    "EXTENSIONS",
    "KEY",
    "SERIAL",
    "SHA1_ECDSA",
    "SHA256_ECDSA",
    "SUBJECT",
    "VALIDITY",
    "VERSION",
    "Change",
    "changed",
    "extension",
    "oid",
    "own",
    "resigned",
    "tlv",
    "underscored",
]

SHA1_ECDSA = "1.2.840.10045.4.1"


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    """Return an extension's DER."""
    flag = tlv(der.BOOLEAN, b"\xff") if critical else b""
    return tlv(der.SEQUENCE, oid(dotted), flag, tlv(der.OCTET_STRING, value))


def own(certificate_: x509.Certificate) -> Certificate:
    """Return a certificate as the product reads it."""
    return certificate.parse(certificate_.public_bytes(Encoding.DER))


def changed(original: x509.Certificate, issuer: Authority, change: Change) -> Certificate:
    """Return the certificate with other fields, signed again by `issuer`'s key with SHA-256."""
    return certificate.parse(resigned(original, issuer.key, change))


def underscored(original: x509.Certificate, issuer: Authority) -> Certificate:
    """Return the certificate with an underscore in a PrintableString, which cryptography doesn't load."""
    common_name = tlv(der.SEQUENCE, oid(certificate.COMMON_NAME), tlv(0x13, b"dev_1"))
    subject = tlv(der.SEQUENCE, tlv(der.SET, common_name))
    return changed(original, issuer, lambda fields: [*fields[:SUBJECT], subject, *fields[KEY:]])
