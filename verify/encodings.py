"""Make certificates in encodings that no library writes: change a certificate's fields and sign it again."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from firstboot.pki import der

Change = Callable[[list[bytes]], list[bytes]]
"""Changes the encoded fields of a TBSCertificate, which stand in the order of the names below."""

Encode = Callable[[x509.Certificate, "PrivateKey"], bytes]
"""Returns the DER of a certificate in another encoding, signed again by the key of its issuer."""

VERSION, SERIAL, ALGORITHM, ISSUER, VALIDITY, SUBJECT, KEY, EXTENSIONS = range(8)

SHA256_ECDSA = "1.2.840.10045.4.3.2"
_SHA256_RSA = "1.2.840.113549.1.1.11"

_NULL = b"\x05\x00"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


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


def resigned(
    original: x509.Certificate,
    key: PrivateKey,
    change: Change,
    algorithm: str = SHA256_ECDSA,
    digest: hashes.HashAlgorithm | None = None,
    parameters: bytes = b"",
) -> bytes:
    """Return the DER of a certificate with other fields, signed by `key`.

    `parameters` is the DER of the algorithm's parameters. An ECDSA algorithm has none (RFC 5758 section 3.2).
    """
    fields = [each.encoded for each in der.read(original.tbs_certificate_bytes).children]
    identifier = tlv(der.SEQUENCE, oid(algorithm), parameters)
    fields[ALGORITHM] = identifier
    tbs = tlv(der.SEQUENCE, *change(fields))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(tbs, ec.ECDSA(digest or hashes.SHA256()))
    elif isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(tbs, PKCS1v15(), digest or hashes.SHA256())
    else:
        raise TypeError("an Ed25519 key signs no digest")
    return tlv(der.SEQUENCE, tbs, identifier, tlv(der.BIT_STRING, b"\0", signature))


def version_1(original: x509.Certificate, key: PrivateKey) -> bytes:
    """Return the certificate as X.509 v1, which has no extensions (RFC 5280 section 4.1.2.1)."""
    return _resigned(original, key, lambda fields: fields[SERIAL:EXTENSIONS])


def generalized_time(original: x509.Certificate, key: PrivateKey) -> bytes:
    """Return the certificate with each of its dates as GeneralizedTime.

    RFC 5280 section 4.1.2.5 makes a CA write dates before 2050 as UTCTime. Some CAs do not.
    """

    def change(fields: list[bytes]) -> list[bytes]:
        dates = [_generalized(each) for each in der.read(fields[VALIDITY]).children]
        fields[VALIDITY] = tlv(der.SEQUENCE, *dates)
        return fields

    return _resigned(original, key, change)


def null_parameters(original: x509.Certificate, key: PrivateKey) -> bytes:
    """Return the certificate with NULL as the parameters of its signature's algorithm, as Mbed TLS 2 writes.

    RFC 5758 section 3.2 forbids them for ECDSA. For RSA they are the rule (RFC 4055 section 5).
    """
    return _resigned(original, key, lambda fields: fields, _NULL)


def _generalized(date: der.Element) -> bytes:
    return tlv(der.GENERALIZED_TIME, f"{date.time():%Y%m%d%H%M%SZ}".encode())


def _resigned(original: x509.Certificate, key: PrivateKey, change: Change, parameters: bytes = b"") -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return resigned(original, key, change, _SHA256_RSA, parameters=_NULL)
    return resigned(original, key, change, parameters=parameters)
