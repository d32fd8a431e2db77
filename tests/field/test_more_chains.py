"""Chains that the corpus does not have as files, made here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations

import gmpy2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from firstboot.pki import bootstrap, der
from firstboot.pki.certificate import Certificate, parse
from firstboot.pki.errors import (
    CertificateKeyWeak,
    CertificateMalformed,
    CertificateUntrusted,
    CertificateUsageWrong,
)
from tests import factories
from tests.factories import Authority
from tests.field import encode
from tests.field.encode import EXTENSIONS, SERIAL, VERSION, changed, own, resigned, tlv

NOW = datetime.now(UTC) + timedelta(hours=1)  # certificates that a slow run makes later are valid, too
ROOT = factories.authority("Root")
KEY = factories.ec_key()
GOOD = ROOT.issue("SN-1", KEY)


def verify(
    leaf: x509.Certificate | Certificate,
    anchors: Sequence[Authority | Certificate],
    intermediates: Sequence[Authority | Certificate] = (),
) -> list[Certificate]:
    """Verify at the present time; return the path."""

    def read(each: Authority | Certificate) -> Certificate:
        return each if isinstance(each, Certificate) else own(each.certificate)

    leaf = leaf if isinstance(leaf, Certificate) else own(leaf)
    return bootstrap.verify(leaf, [*map(read, anchors)], NOW, [*map(read, intermediates)])


def without_key_identifiers(fields: list[bytes]) -> list[bytes]:
    """Remove subject and authority key identifiers, which tell namesakes apart."""
    (sequence,) = der.read(fields[EXTENSIONS]).children
    kept = [each.encoded for each in sequence.children if not identifies_a_key(each.encoded)]
    return [*fields[:EXTENSIONS], tlv(0xA3, tlv(0x30, *kept))]


def identifies_a_key(extension: bytes) -> bool:
    """Return whether an extension is one of the two key identifiers."""
    return any(encode.oid(oid) in extension for oid in ("2.5.29.14", "2.5.29.35"))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_anchors_of_one_name(order: tuple[int, ...]) -> None:
    """The anchor that signed is found among namesakes without key identifiers, in any order."""
    same = [factories.authority("Same") for _ in range(3)]
    anchors = [changed(each.certificate, each, without_key_identifiers) for each in same]
    leaf = changed(same[1].issue("SN-1", KEY), same[1], without_key_identifiers)
    assert verify(leaf, [anchors[index] for index in order])[-1] == anchors[1]


@pytest.mark.parametrize("order", list(permutations(range(2))))
def test_intermediates_of_one_name(order: tuple[int, ...]) -> None:
    """The intermediate that signed is found among namesakes without key identifiers, in any order."""
    same = [ROOT.intermediate("Same") for _ in range(2)]
    certificates = [changed(each.certificate, ROOT, without_key_identifiers) for each in same]
    leaf = changed(same[1].issue("SN-1", KEY), same[1], without_key_identifiers)
    path = verify(leaf, [ROOT], [certificates[index] for index in order])
    assert path[1] == certificates[1]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("place", ["anchors", "intermediates"])
def test_an_expired_and_a_good_certificate_of_one_key(order: int, place: str) -> None:
    """An issuer that renewed its certificate with the same key is trusted by the one that is valid."""
    key = factories.ec_key()
    expired = Authority(ROOT.issue("CA", key, ca=True, not_before=NOW - timedelta(days=9), days=3), key)
    good = Authority(ROOT.issue("CA", key, ca=True), key)
    both = [own(each.certificate) for each in (good, expired)][::order]
    leaf = good.issue("SN-1", KEY)
    path = verify(leaf, both) if place == "anchors" else verify(leaf, [ROOT], both)
    assert path[1] == own(good.certificate)


def test_300_namesakes_hide_no_anchor() -> None:
    """The number of trust anchors of one name has no influence on who is accepted."""
    same = [factories.authority("Same", KEY if each == 250 else factories.ec_key()) for each in range(300)]
    anchors: list[Authority | Certificate] = [
        changed(each.certificate, each, without_key_identifiers) for each in same
    ]
    leaf = changed(same[250].issue("SN-1", factories.ec_key()), same[250], without_key_identifiers)
    assert verify(leaf, anchors)[-1] == anchors[250]


def any_extended_key_usage() -> x509.Certificate:
    """Return a leaf for any purpose."""
    return ROOT.issue("SN-1", KEY, eku=ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)


def test_any_extended_key_usage_includes_clients() -> None:
    """A leaf for any purpose is one for client authentication (RFC 5280 section 4.2.1.12)."""
    assert verify(any_extended_key_usage(), [ROOT])


ISSUERS = {
    "serverAuth only": lambda: ROOT.intermediate(
        "CA", extra=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)]
    ),
    "RSA-1024": lambda: _with_key(factories.rsa_key(1024)),
    "P-192": lambda: _with_key(ec.generate_private_key(ec.SECP192R1())),
    "not a CA": lambda: _with_key(KEY, ca=False, usage=factories.key_usage(ca=True)),
    "no keyCertSign": lambda: _with_key(KEY, ca=False),
}


def _with_key(key: factories.PrivateKey, *, ca: bool = True, usage: x509.KeyUsage | None = None) -> Authority:
    return Authority(ROOT.issue("CA", key, ca=ca, usage=usage or factories.CLIENT_USAGE), key)


@pytest.mark.parametrize("kind", ISSUERS)
def test_an_unfit_intermediate(kind: str) -> None:
    """A path through an issuer that is weak, or no CA for clients, is refused."""
    issuer = ISSUERS[kind]()
    with pytest.raises(CertificateUntrusted):
        verify(issuer.issue("SN-1", factories.ec_key()), [ROOT], [issuer])


@pytest.mark.parametrize("kind", ["not a CA", "no keyCertSign", "serverAuth only", "RSA-1024", "P-192"])
def test_an_unfit_anchor(kind: str) -> None:
    """An anchor that is weak, or no CA for clients, is refused."""
    issuer = ISSUERS[kind]()
    with pytest.raises(CertificateUntrusted):
        verify(issuer.issue("SN-1", factories.ec_key()), [issuer])


def test_an_intermediate_signed_with_sha1() -> None:
    """A path with a SHA-1 signature below the anchor is refused."""
    issuer = ROOT.intermediate("CA")
    weak = parse(
        resigned(issuer.certificate, ROOT.key, lambda fields: fields, encode.SHA1_ECDSA, hashes.SHA1())  # noqa: S303
    )
    with pytest.raises(CertificateUntrusted, match="SHA-1"):
        verify(issuer.issue("SN-1", KEY), [ROOT], [weak])


def test_an_anchor_signed_with_sha1() -> None:
    """An anchor's own signature says nothing, so its algorithm is free."""
    weak = parse(
        resigned(ROOT.certificate, ROOT.key, lambda fields: fields, encode.SHA1_ECDSA, hashes.SHA1())  # noqa: S303
    )
    assert verify(GOOD, [weak])


def test_an_intermediate_of_version_1() -> None:
    """A v1 certificate cannot say that it is a CA, so it is no issuer."""
    issuer = ROOT.intermediate("CA")
    old = changed(issuer.certificate, ROOT, lambda fields: fields[SERIAL:EXTENSIONS])
    with pytest.raises(CertificateUntrusted):
        verify(issuer.issue("SN-1", KEY), [ROOT], [old])


def test_three_intermediates() -> None:
    """A path of five certificates is refused: API Gateway's mutual TLS takes four."""
    issuers = [ROOT.intermediate("CA 1")]
    for number in (2, 3):
        issuers.append(issuers[-1].intermediate(f"CA {number}"))
    assert verify(issuers[1].issue("SN-1", KEY), [ROOT], [*issuers[:2]])
    with pytest.raises(CertificateUntrusted, match="more than 2"):
        verify(issuers[2].issue("SN-1", KEY), [ROOT], [*issuers])


def indefinite(fields: list[bytes]) -> list[bytes]:
    """Encode the subject with an indefinite length."""
    subject = der.read(fields[encode.SUBJECT])
    return [*fields[: encode.SUBJECT], b"\x30\x80" + subject.content + b"\0\0", *fields[encode.KEY :]]


def in_parts(fields: list[bytes]) -> list[bytes]:
    """Encode the common name as a string in two parts."""
    common_name = tlv(0x2C, tlv(0x0C, b"SN"), tlv(0x0C, b"-1"))
    subject = tlv(0x30, tlv(0x31, tlv(0x30, encode.oid("2.5.4.3"), common_name)))
    return [*fields[: encode.SUBJECT], subject, *fields[encode.KEY :]]


def long_length(fields: list[bytes]) -> list[bytes]:
    """Encode the serial number's length in two octets."""
    serial = der.read(fields[SERIAL]).content
    return [fields[VERSION], b"\x02\x81" + bytes([len(serial)]) + serial, *fields[encode.ALGORITHM :]]


def version_1(fields: list[bytes]) -> list[bytes]:
    """Leave out the version and keep the extensions."""
    return fields[SERIAL:]


def version_4(fields: list[bytes]) -> list[bytes]:
    """Say version 4."""
    return [tlv(0xA0, b"\x02\x01\x03"), *fields[SERIAL:]]


@pytest.mark.parametrize("change", [indefinite, in_parts, long_length, version_1, version_4])
def test_a_second_encoding(change: encode.Change) -> None:
    """A correctly signed certificate that is not in DER, or not of its version's form, is malformed."""
    with pytest.raises(CertificateMalformed):
        changed(GOOD, ROOT, change)


def test_a_proxy_certificate() -> None:
    """A proxy certificate (RFC 3820), which a device could issue to others, is refused."""
    proxy = encode.extension("1.3.6.1.5.5.7.1.14", tlv(0x30, tlv(0x30, encode.oid("1.3.6.1.5.5.7.21.1"))))

    def change(fields: list[bytes]) -> list[bytes]:
        (sequence,) = der.read(fields[EXTENSIONS]).children
        return [*fields[:EXTENSIONS], tlv(0xA3, tlv(0x30, sequence.content, proxy))]

    with pytest.raises(CertificateUntrusted, match="proxy"):
        verify(changed(GOOD, ROOT, change), [ROOT])


def test_the_anchor_itself() -> None:
    """A certificate that is trusted as an anchor admits no device by itself."""
    key = factories.ec_key()
    leaf = Authority(ROOT.issue("SN-1", key), key)
    with pytest.raises(CertificateUntrusted):
        verify(leaf.certificate, [leaf])
    with pytest.raises(CertificateUsageWrong):
        verify(ROOT.certificate, [ROOT])


def test_an_rsa_key_that_can_be_factored() -> None:
    """An RSA key whose primes are close is refused, however long it is."""
    close = rsa.RSAPublicNumbers(65537, CLOSE_PRIMES[0] * CLOSE_PRIMES[1]).public_key()
    leaf = (
        x509.CertificateBuilder()
        .subject_name(factories.name("SN-1"))
        .issuer_name(ROOT.certificate.subject)
        .public_key(close)
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .sign(ROOT.key, hashes.SHA256())
    )
    with pytest.raises(CertificateKeyWeak, match="fermat"):
        verify(leaf, [ROOT])


def _next_prime(number: int) -> int:
    return int(gmpy2.next_prime(number))


_FIRST = _next_prime(3 << 1022)
CLOSE_PRIMES = (_FIRST, _next_prime(_FIRST))
