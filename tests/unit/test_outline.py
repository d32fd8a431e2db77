"""The outline of a certificate is what the strict reading finds, and reading it never fails."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.pki import certificate, der, path
from firstboot.pki.errors import CertificateMalformed
from firstboot.pki.outline import Outline, outline
from tests import factories
from tests.field.corpus import Case, cases
from tests.field.encode import EXTENSIONS, VERSION, Change, own, resigned, tlv

CA = factories.authority()
LEAF = CA.issue("gw-1", factories.ec_key())
ENCODED = own(LEAF).der


def text(encoded: bytes) -> str:
    """Return base64 of a certificate's DER."""
    return base64.b64encode(encoded).decode()


def parts(of: Outline) -> tuple[object, ...]:
    """Return the parts of an outline."""
    return of.signed, of.issuer_der, of.algorithm, of.signature, of.identifier


@pytest.mark.parametrize("case", cases("chain"), ids=str)
def test_the_outline_is_that_of_the_whole_certificate(case: Case) -> None:
    """Each certificate of the field that can be read has the same parts in its outline."""
    try:
        whole = case.leaf()
    except CertificateMalformed:
        return
    found = outline(text(whole.der))
    assert found is not None
    assert parts(found) == parts(whole)


def test_pem_and_base64_have_one_outline() -> None:
    """A certificate in PEM, as the gateway passes it on, has the outline of its DER in base64."""
    one, other = outline(factories.pem(LEAF)), outline(text(ENCODED))
    assert one is not None
    assert other is not None
    assert parts(one) == parts(other)


CHANGES: dict[str, Change] = {
    "an extension that is not DER": lambda fields: [*fields[:EXTENSIONS], tlv(0xA3, b"\x30\x05")],
    "no version": lambda fields: fields[VERSION + 1 : EXTENSIONS],
    "a field of no meaning": lambda fields: [*fields, tlv(der.NULL)],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_rest_of_a_certificate_is_not_read(change: Change) -> None:
    """An issuer's signature is found although the rest of what it covers is malformed."""
    found = outline(text(resigned(LEAF, CA.key, change)))
    assert found is not None
    assert path.signed_by(found, own(CA.certificate))
    assert not path.signed_by(found, own(factories.authority().certificate))


WITHOUT: dict[str, str] = {
    "nothing": "",
    "no base64": "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
    "too long": "A" * 16_385,
    "no sequence": text(tlv(der.OCTET_STRING, b"1")),
    "two parts": text(tlv(der.SEQUENCE, tlv(der.SEQUENCE), tlv(der.SEQUENCE))),
    "no fields": text(tlv(der.SEQUENCE, tlv(der.SEQUENCE), tlv(der.SEQUENCE), tlv(der.BIT_STRING, b"\0"))),
    "a signature that is no bit string": text(
        tlv(der.SEQUENCE, *(each.encoded for each in der.read(ENCODED).children[:2]), tlv(der.NULL))
    ),
    "bytes after it": text(ENCODED + b"\0"),
    "a serial number that is no integer": text(
        resigned(LEAF, CA.key, lambda fields: [fields[VERSION], tlv(der.NULL), *fields[VERSION + 2 :]])
    ),
    "no version and such a serial number": text(
        resigned(LEAF, CA.key, lambda fields: [tlv(der.NULL), *fields[VERSION + 2 : EXTENSIONS]])
    ),
}


@pytest.mark.parametrize("value", WITHOUT.values(), ids=WITHOUT)
def test_other_values_have_no_outline(value: str) -> None:
    """A value that is no certificate has no outline."""
    assert outline(value) is None


@given(st.integers(0, len(ENCODED) - 1), st.binary(min_size=0, max_size=4), st.integers(0, 4))
def test_no_change_of_a_certificate_is_an_error(at: int, put: bytes, cut: int) -> None:
    """Any bytes have an outline or none. If they can be read strictly, the outline has the same parts."""
    changed = ENCODED[:at] + put + ENCODED[at + cut :]
    found = outline(text(changed))
    if found:
        path.signed_by(found, own(CA.certificate))
    try:
        whole = certificate.parse(changed)
    except CertificateMalformed:
        return
    assert found is not None
    assert parts(found) == parts(whole)


LONG = b"\x01" * 2_500
PSS, MASK = bytes.fromhex("06092a864886f70d01010a"), bytes.fromhex("06092a864886f70d010108")
SHA256 = tlv(der.SEQUENCE, bytes.fromhex("0609608648016503040201"))

ALGORITHMS: dict[str, bytes] = {
    "an object identifier": tlv(der.SEQUENCE, tlv(der.OID, b"\x81" * 2_500 + b"\x01")),
    "a salt's length": tlv(
        der.SEQUENCE,
        PSS,
        tlv(
            der.SEQUENCE,
            tlv(0xA0, SHA256),
            tlv(0xA1, tlv(der.SEQUENCE, MASK, SHA256)),
            tlv(0xA2, tlv(der.INTEGER, LONG)),
        ),
    ),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
def test_an_algorithm_with_a_number_of_any_length_signs_nothing(algorithm: bytes) -> None:
    """A number that Python refuses to write in decimal is no error: the outline has no valid signature."""
    signed, _, by = der.read(ENCODED).children
    found = outline(text(tlv(der.SEQUENCE, signed.encoded, algorithm, by.encoded)))
    assert found is not None
    assert not path.signed_by(found, own(CA.certificate))


def test_an_outline_equals_no_other() -> None:
    """Two outlines are not equal by accident: nothing may compare certificates by a part of them."""
    assert outline(text(ENCODED)) != outline(text(ENCODED))
