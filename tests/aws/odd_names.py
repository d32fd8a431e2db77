"""Bootstrap certificates whose subjects have encodings that makers use, or that no reader can decode."""

from __future__ import annotations

from cryptography import x509

from tests import factories
from tests.factories import Authority
from tests.field.encode import SUBJECT, oid, resigned, tlv

UTF8_STRING, TELETEX_STRING = 0x0C, 0x14
_CN, _O = "2.5.4.3", "2.5.4.10"


def _attribute(kind: str, tag: int, value: bytes) -> bytes:
    return tlv(0x31, tlv(0x30, oid(kind), tlv(tag, value)))


def _issued(factory: Authority, *attributes: bytes) -> x509.Certificate:
    def change(fields: list[bytes]) -> list[bytes]:
        fields[SUBJECT] = tlv(0x30, *attributes)
        return fields

    original = factory.issue("gw-1", factories.ec_key())
    # cryptography decodes names only when they are read, so it loads every one of these.
    return x509.load_der_x509_certificate(resigned(original, factory.key, change))


def latin_1(factory: Authority) -> x509.Certificate:
    """Return gw-1's certificate, with the organization "M\u00fcller" as a TeletexString in Latin-1."""
    return _issued(
        factory,
        _attribute(_O, TELETEX_STRING, "M\u00fcller".encode("latin-1")),
        _attribute(_CN, UTF8_STRING, b"gw-1"),
    )


def not_utf_8(factory: Authority) -> x509.Certificate:
    """Return a certificate whose common name is a UTF8String that is not UTF-8."""
    return _issued(factory, _attribute(_CN, UTF8_STRING, b"gw-1\xff"))
