"""A CSR gives a key and the proof of its possession, and nothing else counts."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from firstboot.pki import csr, der
from firstboot.pki.errors import CsrKeyRefused, CsrSignatureInvalid, MalformedCsr
from tests import factories
from tests.field import corpus


def _der(request: x509.CertificateSigningRequest) -> bytes:
    return request.public_bytes(Encoding.DER)


def _read(request: x509.CertificateSigningRequest) -> csr.UnverifiedCsr:
    return csr.parse_der(_der(request))


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
    assert verified == csr.verify(_read(REQUEST))


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


def test_a_csr_changed_after_signing_is_refused() -> None:
    """A change of the version is a change of what is signed, although the version itself is not read."""
    der = _der(factories.csr(factories.ec_key())).replace(b"\x02\x01\x00", b"\x02\x01\x01", 1)
    with pytest.raises(CsrSignatureInvalid):
        csr.verify(csr.parse_der(der))


def test_a_csr_signed_with_sha1_says_so() -> None:
    """The refusal of a CSR with a weak hash names the hash."""
    names = (case for case in corpus.cases("csr") if str(case) == "sha1-rsa")
    with pytest.raises(CsrSignatureInvalid) as refused:
        csr.verify(csr.parse_der(next(names).read("der")))
    assert refused.value.detail == "The CSR must be signed with SHA-2, and is with RSA with SHA-1"


@pytest.mark.parametrize(
    "key", [factories.rsa_key(1024), factories.ec_key(ec.SECP256K1()), factories.ec_key(ec.SECP521R1())]
)
def test_weak_and_odd_keys_are_refused(key: factories.PrivateKey) -> None:
    """A key is refused unless it is P-256, P-384 or RSA of at least 2,048 bits."""
    with pytest.raises(CsrKeyRefused):
        csr.verify(_read(factories.csr(key)))


def test_other_kinds_of_keys_are_refused() -> None:
    """A key of another algorithm, such as Ed25519, is refused, because no relying party here could use it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(factories.name("dev-1"))
    request = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
    with pytest.raises(CsrKeyRefused):
        csr.verify(_read(request))


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
    assert csr.verify(_read(builder.sign(factories.ec_key(), hashes.SHA384())))


@pytest.mark.parametrize(
    ("text", "detail", "log"),
    [
        ("A" * 8_193, "A CSR has at most 8192 characters", None),
        ("A" * 8_192, "The CSR is not in DER: ", None),
        ("-----BEGIN CERTIFICATE REQUEST-----", "The PEM text has no whole CERTIFICATE REQUEST block", None),
        ("AAA", "The CSR is not valid base64", "Error('Incorrect padding')"),
        ("A!AAA", "The CSR is not valid base64", "Error("),
        (base64.b64encode(b"\x30\x00").decode(), "The CSR is not in DER: a CSR has three parts", None),
    ],
    ids=["long", "longest", "no-block", "padding", "alphabet", "empty"],
)
def test_a_malformed_csr_is_explained(text: str, detail: str, log: str | None) -> None:
    """The refusal of a text that is no CSR says why."""
    with pytest.raises(MalformedCsr) as caught:
        csr.parse(text)
    assert caught.value.detail.startswith(detail)
    assert caught.value.log.startswith(log or detail)


def test_a_csr_without_a_key_is_explained() -> None:
    """The refusal of a CSR without its parts says which ones it must have."""
    null, nothing = bytes([5, 0]), der.encode(der.SEQUENCE)
    info = der.encode(der.SEQUENCE, der.encode(der.INTEGER, b"\0"), nothing)
    with pytest.raises(MalformedCsr) as caught:
        csr.parse_der(der.encode(der.SEQUENCE, info, nothing, null))
    needs = "a CSR has a version, a subject, a key and attributes"
    assert caught.value.detail == f"The CSR is not in DER: {needs}"


def test_the_refusal_of_a_key_names_it() -> None:
    """The refusal of a CSR's key or algorithm says what it is."""
    with pytest.raises(CsrKeyRefused, match=r"^The CSR has ") as key:
        csr.verify(_read(factories.csr(factories.ec_key(ec.SECP521R1()))))
    assert key.value.detail.startswith("The CSR has ")
    assert len(key.value.detail) > len("The CSR has ")
    with pytest.raises(MalformedCsr, match=r"^The CSR is not in DER: "):
        csr.verify(csr.UnverifiedCsr(b"", b"\x30", b"\x30", b""))


def test_the_longest_der_is_read() -> None:
    """A CSR in DER may have as many bytes as the limit says, and not one more."""
    with pytest.raises(MalformedCsr, match="not in DER"):
        csr.parse_der(bytes(csr.MAX_LENGTH))
    with pytest.raises(MalformedCsr, match="at most 8192 bytes"):
        csr.parse_der(bytes(csr.MAX_LENGTH + 1))


def test_the_common_name_is_read_on_demand() -> None:
    """The one common name of a CSR's subject is read. A subject with none or two has no common name."""
    key = factories.ec_key()
    assert csr.common_name(csr.parse(factories.pem(factories.csr(key, "sn-1")))) == "sn-1"
    two = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in ("sn-1", "sn-2")]
    for parts in ([], two):
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(parts))
        assert csr.common_name(csr.parse(factories.pem(builder.sign(key, hashes.SHA256())))) is None
    assert csr.common_name(csr.UnverifiedCsr(b"", b"", b"", b"", b"\x30\x01")) is None
