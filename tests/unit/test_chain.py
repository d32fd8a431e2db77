"""Operational certificates: those of our issuing CA, and no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import NameOID

from firstboot.domain.errors import AuthenticationError, CertificateExpired
from firstboot.pki import certificate, chain, der
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import (
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateUntrusted,
    CertificateUsageWrong,
)
from tests.factories import Authority, authority, ec_key, key_usage, pem, rsa_key
from tests.field.encode import EXTENSIONS, SUBJECT, changed, extension, oid, own, tlv, underscored

NOW = datetime.now(UTC) + timedelta(hours=1)  # a leaf that a slow test run makes later is valid then, too
CA = authority()
LEAF = CA.issue("dev-1", ec_key())
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
UNTRUSTED = CA.issue("dev-1", ec_key(), extra=[(UNKNOWN, True)])


def test_a_leaf_of_our_ca_verifies() -> None:
    """A client certificate that our CA issued verifies."""
    assert chain.verified(own(LEAF), CA.certificate, NOW) == LEAF


@pytest.mark.parametrize(
    ("leaf", "error"),
    [
        (UNTRUSTED, CertificateUntrusted),
        (CA.issue("dev-1", ec_key(), eku=None), CertificateUsageWrong),
        (CA.issue("dev-1", ec_key(), eku=Purpose.SERVER_AUTH), CertificateUsageWrong),
        (CA.issue("dev-1", ec_key(), ca=True), CertificateUsageWrong),
        (CA.certificate, CertificateUsageWrong),
        (
            CA.issue("dev-1", ec_key(), usage=key_usage(ca=False, digital_signature=False)),
            CertificateUsageWrong,
        ),
        (CA.issue("dev-1", ec_key(), usage=key_usage(ca=False, key_cert_sign=True)), CertificateUsageWrong),
    ],
    ids=["critical", "no-eku", "server-eku", "ca-as-leaf", "ca-itself", "no-sign", "cert-sign"],
)
def test_another_leaf_is_refused(leaf: x509.Certificate, error: type[AuthenticationError]) -> None:
    """A certificate of our CA outside the profile of operational certificates is refused."""
    with pytest.raises(error):
        chain.verified(own(leaf), CA.certificate, NOW)


@pytest.mark.parametrize(
    ("days", "error"), [(-1, CertificateNotYetValid), (366, CertificateExpired)], ids=["early", "late"]
)
def test_outside_its_validity_a_leaf_is_refused(days: int, error: type[AuthenticationError]) -> None:
    """A certificate is refused before and after its validity."""
    with pytest.raises(error):
        chain.verified(own(LEAF), CA.certificate, NOW + timedelta(days=days))


@pytest.mark.parametrize(
    "leaf",
    [
        authority().issue("dev-1", ec_key()),
        authority("Factory CA", rsa_key()).issue("dev-1", ec_key()),
        authority("Factory CA", ec_key(ec.SECP384R1())).issue("dev-1", ec_key()),
        CA.intermediate("Line").issue("dev-1", ec_key()),
        Authority(authority("Line").certificate, CA.key).issue("dev-1", ec_key()),
    ],
    ids=["p256", "rsa", "p384", "intermediate", "name"],
)
def test_a_leaf_of_another_ca_is_not_ours(leaf: x509.Certificate) -> None:
    """A certificate of a CA with another key or another name than our CA is not ours."""
    assert not chain.issued_by(own(leaf), CA.certificate)
    assert chain.verified(own(leaf), CA.certificate, NOW) is None


@pytest.mark.parametrize("text", ["", "no pem", pem(CA.certificate)[:200], "A" * 20_000, "\udcff"])
def test_text_that_is_no_certificate_is_malformed(text: str) -> None:
    """Text that is no certificate raises CertificateMalformed and no other exception."""
    with pytest.raises(CertificateMalformed):
        chain.parse(text)


def test_a_certificate_of_another_version_is_malformed() -> None:
    """A certificate of a version that does not exist is malformed."""
    encoded = LEAF.public_bytes(Encoding.DER)
    with pytest.raises(CertificateMalformed):
        certificate.parse(encoded.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1))


def test_a_subject_has_one_common_name() -> None:
    """A subject must have one common name, so that all code reads the same device from a certificate."""
    two = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn) for cn in ("dev-1", "dev-2")])
    for subject in (two, x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o")])):
        with pytest.raises(CertificateMalformed):
            chain.common_name(CA.issue("dev-1", ec_key(), subject=subject))


@pytest.mark.parametrize(
    ("moment", "error"),
    [
        (LEAF.not_valid_before_utc - timedelta(seconds=1), CertificateNotYetValid),
        (LEAF.not_valid_before_utc, None),
        (LEAF.not_valid_after_utc, None),
        (LEAF.not_valid_after_utc + timedelta(seconds=1), CertificateExpired),
    ],
    ids=["before", "first", "last", "after"],
)
def test_the_first_and_the_last_second_are_valid(
    moment: datetime, error: type[AuthenticationError] | None
) -> None:
    """A certificate is valid from its first second to its last, and the error says which one it misses."""
    if error is None:
        assert chain.verified(own(LEAF), CA.certificate, moment) == LEAF
        return
    with pytest.raises(error) as caught:
        chain.verified(own(LEAF), CA.certificate, moment)
    assert caught.value.log
    for valid in (UNTRUSTED.not_valid_before_utc, UNTRUSTED.not_valid_after_utc):
        with pytest.raises(CertificateUntrusted):
            chain.verified(own(UNTRUSTED), CA.certificate, valid)
        assert chain.verified(own(LEAF), authority().certificate, valid) is None


def test_a_leaf_of_our_ca_is_ours() -> None:
    """A certificate that our CA signed is ours, also an expired one, and another CA's is not."""
    assert chain.issued_by(own(LEAF), CA.certificate)
    assert chain.issued_by(
        own(CA.issue("dev-1", ec_key(), not_before=NOW - timedelta(days=400))), CA.certificate
    )
    assert not chain.issued_by(own(LEAF), authority().certificate)


def test_the_detail_says_what_a_subject_lacks() -> None:
    """The refusal of a subject without one common name says so."""
    nameless = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o")])
    with pytest.raises(CertificateMalformed) as caught:
        chain.common_name(CA.issue("dev-1", ec_key(), subject=nameless))
    assert caught.value.detail == "The certificate's subject must have one common name"
    assert chain.common_name(LEAF) == "dev-1"


BAD: list[tuple[dict[str, Any], type[AuthenticationError]]] = [
    ({"not_before": NOW - timedelta(days=400)}, CertificateExpired),
    ({"not_before": NOW + timedelta(days=1)}, CertificateNotYetValid),
    ({"eku": Purpose.SERVER_AUTH}, CertificateUsageWrong),
    ({"ca": True}, CertificateUsageWrong),
]


@pytest.mark.parametrize(("options", "error"), BAD, ids=["expired", "early", "server-eku", "ca"])
def test_only_a_certificate_of_our_ca_is_refused_with_a_reason(
    options: dict[str, Any], error: type[AuthenticationError]
) -> None:
    """A bad certificate of our CA is refused with its reason, and one of a CA with its name is not ours."""
    with pytest.raises(error):
        chain.verified(own(CA.issue("dev-1", ec_key(), **options)), CA.certificate, NOW)
    assert chain.verified(own(authority().issue("dev-1", ec_key(), **options)), CA.certificate, NOW) is None
    assert chain.verified(own(LEAF), CA.certificate, NOW) == LEAF


UNREADABLE = {
    "constraints": ("2.5.29.19", b"\x01"),
    "names": ("2.5.29.17", b"\x30\x02\x82\xff"),
    "name-kind": ("2.5.29.17", b"\x30\x02\xa5\x00"),
    "tls-feature": ("1.3.6.1.5.5.7.1.24", b"\x30\x00"),
}


def _unreadable(issuer: Authority, oid: str, value: bytes) -> Certificate:
    """Return a certificate with an extension that cryptography can't read."""
    wrapper = tlv(0xA3, tlv(der.SEQUENCE, extension(oid, value)))
    leaf = changed(issuer.issue("dev-1", ec_key()), issuer, lambda fields: [*fields[:EXTENSIONS], wrapper])
    with pytest.raises((ValueError, TypeError, x509.UnsupportedGeneralNameType), match=r"."):
        list(leaf.to_cryptography().extensions)
    return leaf


@pytest.mark.parametrize(("oid", "value"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_extension_of_another_ca_is_no_error(oid: str, value: bytes) -> None:
    """A certificate of another CA is not ours, also if no library can read its extensions."""
    leaf = _unreadable(authority(), oid, value)
    assert chain.verified(leaf, CA.certificate, NOW) is None
    assert not chain.issued_by(leaf, CA.certificate)


@pytest.mark.parametrize(("oid", "value"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_extension_of_our_ca_is_malformed(oid: str, value: bytes) -> None:
    """A certificate of our CA with an extension that cryptography can't read is refused as malformed."""
    with pytest.raises(CertificateMalformed) as caught:
        chain.verified(_unreadable(CA, oid, value), CA.certificate, NOW)
    assert caught.value.log


def test_a_certificate_that_is_not_read_is_not_ours() -> None:
    """A certificate that cryptography doesn't load is not ours and no error."""
    other = authority()
    leaf = underscored(other.issue("dev-1", ec_key()), other)
    with pytest.raises(CertificateMalformed):
        leaf.to_cryptography()
    assert chain.verified(leaf, CA.certificate, NOW) is None
    assert not chain.issued_by(leaf, CA.certificate)


@pytest.mark.parametrize("value", [tlv(der.SEQUENCE), tlv(der.BIT_STRING, b"\0dev")], ids=["list", "bits"])
def test_an_unreadable_subject_of_our_ca_is_malformed(value: bytes) -> None:
    """A certificate of our CA whose common name is no text has no name, and is refused as malformed."""
    subject = tlv(der.SEQUENCE, tlv(der.SET, tlv(der.SEQUENCE, oid(certificate.COMMON_NAME), value)))
    leaf = changed(LEAF, CA, lambda fields: [*fields[:SUBJECT], subject, *fields[SUBJECT + 1 :]])
    with pytest.raises(CertificateMalformed) as caught:
        chain.common_name(leaf.to_cryptography())
    assert caught.value.log
