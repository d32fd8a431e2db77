"""A certificate as its sender encoded it: read, and not verified. Pure.

cryptography refuses to load what secure elements and makers' CAs write (GeneralizedTime before 2050, NULL
parameters, an underscore in a PrintableString), so the fields are read here, from strict DER (see `der`).
No field is corrected: what is read, signed and hashed are the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache

from cryptography import x509

from firstboot.pki import der, pem, signature
from firstboot.pki.der import Element, NotDer
from firstboot.pki.errors import CertificateMalformed
from firstboot.pki.outline import Outline
from firstboot.pki.signature import DevicePublicKey

MAX_INTERMEDIATES = 2
"""API Gateway's mTLS takes chains of four: leaf, two intermediates, root."""

COMMON_NAME = "2.5.4.3"

_VERSION, _EXTENSIONS = 0xA0, 0xA3
_UNIQUE_IDS = (0x81, 0x82, 0xA1, 0xA2)

_ENCODINGS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "latin-1",  # PrintableString, in which encoders put more than its characters
    0x14: "latin-1",  # TeletexString, in which encoders put Latin-1
    0x16: "latin-1",  # IA5String
    0x1A: "latin-1",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}


@dataclass(frozen=True)
class Extension:
    """An extension; `value` is the content of its OCTET STRING."""

    critical: bool
    value: bytes

    def read(self) -> Element:
        """Return the value's DER. Raises NotDer."""
        return der.read(self.value)


@dataclass(frozen=True)
class Name:
    """A distinguished name: for each relative name, its attributes as (OID, value)."""

    relative: tuple[frozenset[tuple[str, str]], ...]

    def values(self, oid: str) -> list[str]:
        """Return the values of an attribute."""
        return [value for each in self.relative for kind, value in each if kind == oid]

    def canonical(self) -> tuple[frozenset[tuple[str, str]], ...]:
        """Return the name for comparison: without regard to case and spaces (RFC 5280 section 7.1)."""
        return tuple(frozenset((oid, _folded(value)) for oid, value in each) for each in self.relative)

    def text(self) -> str:
        """Return the name for a person to read: at most 128 printable characters, as a sender chooses it."""
        parts = ("+".join(f"{_SHORT.get(oid, oid)}={value}" for oid, value in each) for each in self.relative)
        return "".join(each if each.isprintable() else "?" for each in ",".join(parts)[:128])


_SHORT = {COMMON_NAME: "CN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.10": "O", "2.5.4.11": "OU"}


@dataclass(frozen=True)
class Certificate(Outline):
    """An unverified certificate. Two are equal if their bytes are.

    `version` counts from 0, as X.509 does: v3 is 2.
    """

    der: bytes
    version: int = field(compare=False)
    serial_number: int = field(compare=False)
    issuer: Name = field(compare=False)
    subject: Name = field(compare=False)
    not_before: datetime = field(compare=False)
    not_after: datetime = field(compare=False)
    spki: Element = field(compare=False, repr=False)
    extensions: dict[str, Extension] = field(compare=False, repr=False)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the DER, lower-case hex; AWS IoT's certificateId."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def pem(self) -> str:
        """The certificate in PEM (RFC 7468)."""
        lines = textwrap.fill(base64.b64encode(self.der).decode(), 64)
        return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"

    def public_key(self) -> DevicePublicKey:
        """Return the subject's key. Raises KeyRefused for a kind that is not taken, NotDer."""
        return self._public_key

    def spki_fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the subject's key. Raises KeyRefused, NotDer."""
        return self._spki_fingerprint

    # Every request compares its path with all trust anchors, and reading a key takes a while.
    @cached_property
    def _public_key(self) -> DevicePublicKey:
        return signature.public_key(self.spki)

    @cached_property
    def _spki_fingerprint(self) -> str:
        return signature.spki_fingerprint(self._public_key)

    def to_cryptography(self) -> x509.Certificate:
        """Return the certificate as cryptography reads it. Raises CertificateMalformed."""
        try:
            return x509.load_der_x509_certificate(self.der)
        # A version 2, which no CA writes any more, is not read.
        except (ValueError, x509.InvalidVersion) as error:
            raise CertificateMalformed(log=repr(error)) from error


def parse_text(text: str) -> Certificate:
    """Return the certificate in `text`, PEM (RFC 7468) or base64 of the DER, unverified.

    Raises CertificateMalformed.
    """
    return parse(pem.decoded(text))


def parse_all(text: str) -> list[Certificate]:
    """Return the certificates in a PEM file, other text being left out. Raises CertificateMalformed."""
    return [parse(each) for each in pem.all_decoded(text)]


@lru_cache(maxsize=1024)
def anchor(text: str) -> Certificate:
    """Return `parse_text`'s result, remembered: every request needs the trust anchors again."""
    return parse_text(text)


def parse(encoded: bytes) -> Certificate:
    """Return the certificate in `encoded` (DER), unverified. Raises CertificateMalformed."""
    try:
        return _certificate(der.read(encoded))
    except NotDer as error:
        raise CertificateMalformed(f"The certificate is not in DER: {error}") from error
    except UnicodeError as error:
        detail = "A name in the certificate is not in the character set of its string type"
        raise CertificateMalformed(detail, log=repr(error)) from error


def _certificate(whole: Element) -> Certificate:
    tbs, algorithm, signed_by = _fields(whole, 3)
    rest = list(tbs.expect(der.SEQUENCE).children)
    version = _version(rest)
    serial, inner, issuer, validity, subject, spki = _taken(rest, 6)
    # RFC 5280 section 4.1.1.2: the two must be the same. The outer one is not signed.
    if inner.encoded != algorithm.encoded:
        raise NotDer("the two signature algorithms differ")
    not_before, not_after = _fields(validity, 2)
    return Certificate(
        der=whole.encoded,
        signed=tbs.encoded,
        version=version,
        serial_number=serial.integer(),
        issuer=distinguished_name(issuer),
        subject=distinguished_name(subject),
        not_before=not_before.time(),
        not_after=not_after.time(),
        spki=spki,
        issuer_der=issuer.encoded,
        algorithm=algorithm,
        signature=signed_by.bits(),
        extensions=_extensions(rest, version),
    )


def _version(rest: list[Element]) -> int:
    if not rest or rest[0].tag != _VERSION:
        return 0
    number = _only(rest.pop(0).children).integer()
    if number not in (0, 1, 2):
        raise NotDer(f"version {number + 1} of X.509 does not exist")
    return number


def _extensions(rest: list[Element], version: int) -> dict[str, Extension]:
    while rest and rest[0].tag in _UNIQUE_IDS and version:
        rest.pop(0)
    if not rest:
        return {}
    wrapper = _only(rest)
    if wrapper.tag != _EXTENSIONS or version != 2:
        raise NotDer("extensions are in X.509 v3 alone, and nothing follows them")
    found: dict[str, Extension] = {}
    for each in _only(wrapper.children).expect(der.SEQUENCE).children:
        oid, extension = _extension(each)
        if oid in found:
            raise NotDer(f"the extension {oid} is there twice")
        found[oid] = extension
    return found


def _extension(element: Element) -> tuple[str, Extension]:
    match element.expect(der.SEQUENCE).children:
        case [oid, value]:
            return oid.oid(), Extension(critical=False, value=value.expect(der.OCTET_STRING).content)
        case [oid, critical, value]:
            return oid.oid(), Extension(critical.boolean(), value.expect(der.OCTET_STRING).content)
        case _:
            raise NotDer("an extension has an OID, a BOOLEAN at most, and a value")


def distinguished_name(element: Element) -> Name:
    """Return the name in an element.

    Raises NotDer, UnicodeError.
    """
    relative = element.expect(der.SEQUENCE).children
    return Name(tuple(frozenset(map(_attribute, each.expect(der.SET).children)) for each in relative))


def _attribute(element: Element) -> tuple[str, str]:
    kind, value = _fields(element, 2)
    encoding = _ENCODINGS.get(value.tag)
    return kind.oid(), value.content.decode(encoding) if encoding else value.encoded.hex()


def _folded(value: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())


def _only(elements: Sequence[Element]) -> Element:
    if len(elements) != 1:
        raise NotDer(f"expected one value, found {len(elements)}")
    return elements[0]


def _fields(element: Element, count: int) -> tuple[Element, ...]:
    children = element.expect(der.SEQUENCE).children
    if len(children) != count:
        raise NotDer(f"expected {count} values, found {len(children)}")
    return children


def _taken(rest: list[Element], count: int) -> Sequence[Element]:
    if len(rest) < count:
        raise NotDer("fields are missing")
    taken, rest[:] = rest[:count], rest[count:]
    return taken
