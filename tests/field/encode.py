"""Certificates that no library writes: another's bytes are changed and signed again."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.pki import certificate, der
from firstboot.pki.certificate import Certificate
from tests.factories import Authority, PrivateKey

Change = Callable[[list[bytes]], list[bytes]]
"""Changes the encoded fields of a TBSCertificate, which stand in the order of the names below."""

VERSION, SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT, KEY, EXTENSIONS = range(8)

SHA256_ECDSA = "1.2.840.10045.4.3.2"
SHA1_ECDSA = "1.2.840.10045.4.1"


tlv = der.encode


def oid(dotted: str) -> bytes:
    """Return an object identifier's DER."""
    first, second, *rest = map(int, dotted.split("."))
    octets = bytearray()
    for number in (40 * first + second, *rest):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | number & 0x7F)
        octets += bytes(reversed(groups))
    return tlv(der.OID, bytes(octets))


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


def resigned(
    original: x509.Certificate,
    key: PrivateKey,
    change: Change,
    algorithm: str = SHA256_ECDSA,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """Return the DER of a certificate with other fields, signed by `key`."""
    fields = [each.encoded for each in der.read(original.tbs_certificate_bytes).children]
    identifier = tlv(der.SEQUENCE, oid(algorithm))
    fields[ALGORITHM] = identifier
    tbs = tlv(der.SEQUENCE, *change(fields))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(tbs, ec.ECDSA(digest or hashes.SHA256()))
    else:
        assert isinstance(key, rsa.RSAPrivateKey)
        signature = key.sign(tbs, PKCS1v15(), digest or hashes.SHA256())
    return tlv(der.SEQUENCE, tbs, identifier, tlv(der.BIT_STRING, b"\0", signature))
