"""CSRs: a key and the proof of its possession, nothing else."""

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
    """Both encodings, wrapped or not, give the same key."""
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
    """Whichever byte is flipped, the result is malformed, refused, badly signed, or the same key: the
    envelope around the signature can be written in more than one way.
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
    """Size is checked before anything is decoded."""
    with pytest.raises(MalformedCsr, match="at most"):
        csr.parse("-----BEGIN" + "A" * csr.MAX_LENGTH)


def test_a_csr_signed_by_another_key_is_refused() -> None:
    """A thief of a public key can't have it certified: possession is proved by the signature."""
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
    """RFC 2986 knows version 0 alone; the parser's own error for others is no ValueError."""
    der = _der(factories.csr(factories.ec_key())).replace(b"\x02\x01\x00", b"\x02\x01\x01", 1)
    with pytest.raises(MalformedCsr):
        csr.parse(base64.b64encode(der).decode())


@pytest.mark.parametrize(
    "key", [factories.rsa_key(1024), factories.ec_key(ec.SECP256K1()), factories.ec_key(ec.SECP521R1())]
)
def test_weak_and_odd_keys_are_refused(key: factories.PrivateKey) -> None:
    """We certify P-256, P-384 and RSA from 2,048 bits."""
    with pytest.raises(CsrKeyRefused):
        csr.verify(csr.UnverifiedCsr(factories.csr(key)))


def test_other_kinds_of_keys_are_refused() -> None:
    """A key no relying party here could use is not certified."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(factories.name("dev-1"))
    request = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
    with pytest.raises(CsrKeyRefused):
        csr.verify(csr.UnverifiedCsr(request))


@pytest.mark.parametrize(
    "key",
    [factories.ec_key(), factories.ec_key(ec.SECP384R1()), factories.rsa_key(), factories.rsa_key(4096)],
)
def test_good_keys_are_taken(key: factories.PrivateKey) -> None:
    """Every kind we name is certified, and a CSR of any of them fits the length limit."""
    request = factories.csr(key)
    assert len(factories.pem(request)) < csr.MAX_LENGTH
    assert csr.verify(csr.parse(factories.pem(request))).spki


def test_a_csr_hashed_otherwise_is_taken() -> None:
    """The digest of the CSR's own signature is the device's choice."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(factories.name("dev-1"))
    assert csr.verify(csr.UnverifiedCsr(builder.sign(factories.ec_key(), hashes.SHA384())))
