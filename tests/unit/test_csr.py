"""A CSR gives a key and the proof of its possession, and nothing else counts."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from firstboot.pki import csr
from firstboot.pki.errors import CsrKeyRefused, CsrSignatureInvalid, MalformedCsr
from tests import factories


def _der(request: x509.CertificateSigningRequest) -> bytes:
    return request.public_bytes(Encoding.DER)


def test_pem_and_base64_der_are_the_same_csr() -> None:
    """PEM and base64 DER give the same key, with line breaks and without."""
    request = factories.csr(factories.ec_key())
    plain = base64.b64encode(_der(request)).decode()
    wrapped = base64.encodebytes(_der(request)).decode()
    fingerprints = {csr.verify(csr.parse(text)).spki for text in (factories.pem(request), plain, wrapped)}
    assert len(fingerprints) == 1


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.b64encode(raw).decode()))
def test_garbage_is_malformed(text: str) -> None:
    """No text makes the parser raise anything but its own error."""
    with pytest.raises(MalformedCsr):
        csr.parse(text)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_csr_certifies_no_other_key(position: int, flip: int) -> None:
    """A CSR with one byte changed is malformed, refused or badly signed, or certifies the same key.

    The same key can result because the envelope around the signature has more than one encoding.
    """
    der = bytearray(_der(REQUEST))
    der[position % len(der)] ^= flip
    try:
        verified = csr.verify(csr.parse(base64.b64encode(der).decode()))
    except (MalformedCsr, CsrSignatureInvalid, CsrKeyRefused):
        return
    assert verified == csr.verify(csr.UnverifiedCsr(REQUEST))


REQUEST = factories.csr(factories.ec_key())


def test_an_overlong_csr_is_not_even_parsed() -> None:
    """A CSR above the length limit is refused before it is decoded."""
    with pytest.raises(MalformedCsr, match="at most"):
        csr.parse("-----BEGIN" + "A" * csr.MAX_LENGTH)


def test_a_csr_signed_by_another_key_is_refused() -> None:
    """A CSR is refused if another key signed it: an attacker knows public keys, and must not certify them."""
    victim, thief = factories.ec_key(), factories.ec_key()
    good, forged = _der(factories.csr(victim)), _der(factories.csr(thief))
    victim_point = victim.public_key().public_numbers()
    thief_point = thief.public_key().public_numbers()
    swapped = forged.replace(
        thief_point.x.to_bytes(32, "big") + thief_point.y.to_bytes(32, "big"),
        victim_point.x.to_bytes(32, "big") + victim_point.y.to_bytes(32, "big"),
    )
    assert csr.verify(csr.parse(base64.b64encode(good).decode()))
    with pytest.raises(CsrSignatureInvalid):
        csr.verify(csr.parse(base64.b64encode(swapped).decode()))


def test_a_csr_of_another_version_is_malformed() -> None:
    """A CSR of another version than 0 (RFC 2986) is malformed, although its parser error is no ValueError."""
    der = _der(factories.csr(factories.ec_key())).replace(b"\x02\x01\x00", b"\x02\x01\x01", 1)
    with pytest.raises(MalformedCsr):
        csr.parse(base64.b64encode(der).decode())


@pytest.mark.parametrize(
    "key", [factories.rsa_key(1024), factories.ec_key(ec.SECP256K1()), factories.ec_key(ec.SECP521R1())]
)
def test_weak_and_odd_keys_are_refused(key: factories.PrivateKey) -> None:
    """A key is refused unless it is P-256, P-384 or RSA of at least 2,048 bits."""
    with pytest.raises(CsrKeyRefused):
        csr.verify(csr.UnverifiedCsr(factories.csr(key)))


def test_other_kinds_of_keys_are_refused() -> None:
    """A key of another algorithm, such as Ed25519, is refused, because no relying party here could use it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(factories.name("dev-1"))
    request = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
    with pytest.raises(CsrKeyRefused):
        csr.verify(csr.UnverifiedCsr(request))


@pytest.mark.parametrize(
    "key",
    [factories.ec_key(), factories.ec_key(ec.SECP384R1()), factories.rsa_key(), factories.rsa_key(4096)],
)
def test_good_keys_are_accepted(key: factories.PrivateKey) -> None:
    """Every supported kind of key is certified, and a CSR with it fits the length limit."""
    request = factories.csr(key)
    assert len(factories.pem(request)) < csr.MAX_LENGTH
    assert csr.verify(csr.parse(factories.pem(request))).spki


def test_a_csr_with_another_digest_is_accepted() -> None:
    """A CSR may be signed with another digest than SHA-256."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(factories.name("dev-1"))
    assert csr.verify(csr.UnverifiedCsr(builder.sign(factories.ec_key(), hashes.SHA384())))
