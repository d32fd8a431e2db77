"""Test how a certificate is read, and that each refusal says what is wrong with it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.pki import certificate, der
from firstboot.pki.certificate import Certificate, Extension, Name
from firstboot.pki.errors import CertificateMalformed
from firstboot.pki.pem import MAX_PEM
from tests import factories
from tests.field import encode
from tests.field.encode import own, tlv

CA = factories.authority()
KEY = factories.ec_key()
LEAF = CA.issue("gw-1", KEY, serial=4711)
PEM = factories.pem(LEAF)
NOTHING = tlv(der.SEQUENCE)
V2, V1_AS_NUMBER, V4 = (tlv(0xA0, tlv(der.INTEGER, bytes([number]))) for number in (1, 0, 3))


def test_a_certificate_has_its_fields() -> None:
    """A read certificate has each field as cryptography reads it, and names its issuer and its subject."""
    read = own(LEAF)
    encoded = LEAF.public_bytes(Encoding.DER)
    assert (read.version, read.serial_number) == (2, 4711)
    assert (read.issuer.text(), read.subject.text()) == ("CN=Factory CA", "CN=gw-1")
    assert (read.not_before, read.not_after) == (LEAF.not_valid_before_utc, LEAF.not_valid_after_utc)
    assert read.signature == LEAF.signature
    assert read.signed == LEAF.tbs_certificate_bytes
    assert read.fingerprint == hashlib.sha256(encoded).hexdigest()
    assert read.identifier == hashlib.sha256(LEAF.tbs_certificate_bytes).hexdigest()
    assert read.pem == PEM
    assert read.to_cryptography() == LEAF
    assert read.public_key() == KEY.public_key()
    assert list(read.extensions) == [each.oid.dotted_string for each in LEAF.extensions]
    assert [each.critical for each in read.extensions.values()] == [each.critical for each in LEAF.extensions]


@pytest.mark.parametrize(
    "text",
    [PEM, f"text\n{PEM}text", PEM.replace("\n", "\r\n"), base64.encodebytes(own(LEAF).der).decode()],
    ids=["pem", "around", "crlf", "base64"],
)
def test_a_text_is_a_certificate(text: str) -> None:
    """A certificate is read from PEM with other text around it, and from base64 without PEM."""
    assert certificate.parse_text(text) == certificate.anchor(text) == own(LEAF)


def test_a_file_has_all_its_certificates() -> None:
    """All certificates of a PEM file are read in their order, and other text is left out."""
    other = factories.pem(CA.certificate)
    assert certificate.parse_all(f"a\n{PEM}b\n{other}") == [own(LEAF), own(CA.certificate)]
    assert certificate.parse_all("") == []


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("A" * (MAX_PEM + 1), "A certificate has at most 16384 characters"),
        ("A" * MAX_PEM, "The certificate is not in DER: "),
        ("-----BEGIN CERTIFICATE-----", "The PEM text has no whole CERTIFICATE block"),
        (PEM.replace(" CERTIFICATE", " X509 CRL"), "The PEM text has no whole CERTIFICATE block"),
        ("AAA", "The certificate is not valid base64"),
        ("A!AAA", "The certificate is not valid base64"),
    ],
)
def test_a_text_that_is_no_certificate_is_explained(text: str, detail: str) -> None:
    """The refusal of a text that is no certificate says why."""
    with pytest.raises(CertificateMalformed) as caught:
        certificate.parse_text(text)
    assert caught.value.detail.startswith(detail)
    assert caught.value.log.startswith("Error(" if "base64" in detail else detail)


Fields = Callable[[list[bytes]], list[bytes]]


def _extensions(*extensions: bytes) -> bytes:
    return tlv(0xA3, tlv(der.SEQUENCE, *extensions))


def _with(position: int, value: bytes) -> Fields:
    return lambda fields: [*fields[:position], value, *fields[position + 1 :]]


ONE = encode.extension("1.2.3", b"\x05\x00")
# DER would leave the default out.
NOT_CRITICAL = tlv(
    der.SEQUENCE, encode.oid("1.2.4"), tlv(der.BOOLEAN, b"\0"), tlv(der.OCTET_STRING, b"\x05\x00")
)
MALFORMED: dict[str, tuple[Fields, str]] = {
    "no fields": (lambda fields: fields[:0], "fields are missing"),
    "one field less": (lambda fields: fields[:6], "fields are missing"),
    "version 4": (_with(0, V4), "version 4 of X.509 does not exist"),
    "two versions": (_with(0, tlv(0xA0, tlv(der.INTEGER, b"\2") * 2)), "expected one value, found 2"),
    "no version number": (_with(0, tlv(0xA0)), "expected one value, found 0"),
    "another algorithm": (
        _with(encode.ALGORITHM, tlv(der.SEQUENCE, encode.oid("1.2.3"))),
        "the two signature algorithms differ",
    ),
    "one time": (_with(encode.VALIDITY, NOTHING), "expected 2 values, found 0"),
    "extensions in v2": (_with(0, V2), "extensions are in X.509 v3 alone, and nothing follows them"),
    "extensions in v1": (lambda fields: fields[1:], "extensions are in X.509 v3 alone"),
    "two lists of extensions": (lambda fields: [*fields, fields[-1]], "expected one value, found 2"),
    "another last field": (_with(encode.EXTENSIONS, tlv(0xA4)), "extensions are in X.509 v3 alone"),
    "an empty wrapper": (_with(encode.EXTENSIONS, tlv(0xA3)), "expected one value, found 0"),
    "an extension twice": (
        _with(encode.EXTENSIONS, _extensions(ONE, ONE)),
        "the extension 1.2.3 is there twice",
    ),
    "an empty extension": (
        _with(encode.EXTENSIONS, _extensions(NOTHING)),
        "an extension has an OID, a BOOLEAN at most, and a value",
    ),
    "an attribute of one value": (
        _with(encode.SUBJECT, tlv(der.SEQUENCE, tlv(der.SET, tlv(der.SEQUENCE, encode.oid("2.5.4.3"))))),
        "expected 2 values, found 1",
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_certificate_is_explained(kind: str) -> None:
    """The refusal of a certificate in another form says what is wrong, for a person and for the log."""
    change, text = MALFORMED[kind]
    with pytest.raises(CertificateMalformed) as caught:
        encode.changed(LEAF, CA, change)
    assert caught.value.detail.startswith(f"The certificate is not in DER: {text}")
    assert caught.value.log == caught.value.detail


def test_a_certificate_has_three_parts() -> None:
    """A certificate without its algorithm and signature is malformed."""
    with pytest.raises(CertificateMalformed, match="expected 3 values, found 0"):
        certificate.parse(NOTHING)


@pytest.mark.parametrize(
    ("change", "version"),
    [
        (lambda fields: fields[1:-1], 0),
        (lambda fields: [V1_AS_NUMBER, *fields[1:-1]], 0),
        (lambda fields: [V2, *fields[1:-1]], 1),
        (lambda fields: [V2, *fields[1:-1], tlv(0x81, b"\0a"), tlv(0x82, b"\0b")], 1),
        (lambda fields: [*fields[:-1], tlv(0x81, b"\0a"), fields[-1]], 2),
        (lambda fields: fields[:-1], 2),
    ],
    ids=["v1", "v1-written", "v2", "v2-with-ids", "v3-with-an-id", "v3-without-extensions"],
)
def test_older_versions_are_read(change: Fields, version: int) -> None:
    """A certificate of version 1 or 2 is read, with unique identifiers from version 2 on."""
    assert encode.changed(LEAF, CA, change).version == version


def test_a_unique_identifier_needs_version_2() -> None:
    """A certificate of version 1 with a unique identifier is malformed."""
    with pytest.raises(CertificateMalformed):
        encode.changed(LEAF, CA, lambda fields: [*fields[1:-1], tlv(0x81, b"\0a")])


def test_a_critical_extension_is_so() -> None:
    """An extension is critical if it says so, and not if it says nothing or says no."""
    critical = encode.extension("1.2.5", b"\x05\x00", critical=True)
    found = encode.changed(LEAF, CA, _with(encode.EXTENSIONS, _extensions(ONE, NOT_CRITICAL, critical)))
    assert found.extensions == {
        "1.2.3": Extension(critical=False, value=b"\x05\x00"),
        "1.2.4": Extension(critical=False, value=b"\x05\x00"),
        "1.2.5": Extension(critical=True, value=b"\x05\x00"),
    }
    assert found.extensions["1.2.3"].read().tag == der.NULL


def _named(*attributes: tuple[str, int, bytes]) -> Certificate:
    parts = (
        tlv(der.SET, tlv(der.SEQUENCE, encode.oid(dotted), tlv(tag, value)))
        for dotted, tag, value in attributes
    )
    return encode.changed(LEAF, CA, _with(encode.SUBJECT, tlv(der.SEQUENCE, *parts)))


@pytest.mark.parametrize(
    ("tag", "value", "text"),
    [
        (0x0C, "é".encode(), "é"),
        (0x12, b"1", "1"),
        (0x13, b"a\xe9", "aé"),
        (0x14, b"\xe9", "é"),
        (0x16, b"\xe9", "é"),
        (0x1A, b"\xe9", "é"),
        (0x1C, b"\0\0\0a", "a"),
        (0x1E, b"\0a", "a"),
        (0x04, b"a", "040161"),
    ],
)
def test_a_value_is_read_in_its_character_set(tag: int, value: bytes, text: str) -> None:
    """A name's value is read by its string type; a value of another type is shown in hex."""
    assert _named(("2.5.4.3", tag, value)).subject.values("2.5.4.3") == [text]


def test_a_value_outside_of_its_character_set_is_explained() -> None:
    """The refusal of a value that is not in its character set says so, and the log has the error."""
    with pytest.raises(CertificateMalformed) as caught:
        _named(("2.5.4.3", 0x0C, b"\xff"))
    expected = "A name in the certificate is not in the character set of its string type"
    assert caught.value.detail == expected
    assert caught.value.log.startswith("UnicodeDecodeError(")


def test_a_name_is_shown_to_people() -> None:
    """A name's text has short names for known attributes, 128 characters, and no control characters."""
    name = _named(
        ("2.5.4.3", 0x0C, b"a\n"), ("2.5.4.5", 0x0C, b"1"), ("2.5.4.6", 0x13, b"NL"), ("2.5.4.99", 0x0C, b"x")
    ).subject
    assert name.text() == "CN=a?,serialNumber=1,C=NL,2.5.4.99=x"
    assert _named(("2.5.4.3", 0x0C, b"a" * 200)).subject.text() == "CN=" + "a" * 125
    both = Name((frozenset({("2.5.4.10", "o")}), frozenset({("2.5.4.11", "u")})))
    assert both.text() == "O=o,OU=u"


def test_names_are_compared_without_case_and_spaces() -> None:
    """Two names are one if they differ in case, spaces or compatible characters, and not in an attribute."""
    name = _named(("2.5.4.3", 0x0C, b"Acme  Factory ")).subject.canonical()
    assert name == _named(("2.5.4.3", 0x13, b" acme factory")).subject.canonical()
    assert name == _named(("2.5.4.3", 0x0C, "\uff41cme Factory".encode())).subject.canonical()
    assert name != _named(("2.5.4.10", 0x0C, b"Acme Factory")).subject.canonical()
    assert name != _named(("2.5.4.3", 0x0C, b"AcmeFactory")).subject.canonical()


def test_what_cryptography_cannot_read_is_malformed() -> None:
    """A certificate that cryptography does not read is malformed for a use that needs it."""
    broken = encode.changed(LEAF, CA, _with(encode.EXTENSIONS, _extensions(NOT_CRITICAL)))
    with pytest.raises(CertificateMalformed) as caught:
        broken.to_cryptography()
    assert caught.value.log.startswith("ValueError(")


def test_a_certificate_of_version_2_is_malformed_for_cryptography() -> None:
    """A certificate of X.509 v2, which cryptography does not read, is malformed for such a use."""
    second = encode.changed(LEAF, CA, lambda fields: [V2, *fields[encode.SERIAL : encode.EXTENSIONS]])
    assert second.version == 1
    with pytest.raises(CertificateMalformed):
        second.to_cryptography()
