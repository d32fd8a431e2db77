"""The forms of a certificate: every form that a sender can make without a key is known, and no other is."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

from firstboot.pki import certificate, der, forms, path
from tests import factories
from tests.field import corpus
from tests.field.encode import own

CURVES: list[ec.EllipticCurve] = [ec.SECP256R1(), ec.SECP384R1()]


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
def test_a_certificate_and_its_twin_have_the_same_forms(curve: ec.EllipticCurve) -> None:
    """The twin holds under the issuer's key, has the same identifier, and leads back to the certificate."""
    issuer = factories.authority(key=factories.ec_key(curve))
    for _ in range(8):
        leaf = issuer.issue("gw-1", factories.ec_key())
        twin = factories.twin(leaf, curve)
        twin.verify_directly_issued_by(issuer.certificate)
        assert forms.twin(own(leaf)) == own(twin).der
        assert forms.twin(own(twin)) == own(leaf).der
        assert own(leaf).identifier == own(twin).identifier
        both = {own(leaf).fingerprint, own(twin).fingerprint}
        assert forms.ids(own(leaf)) == forms.ids(own(twin)) == both
        assert len(both) == 2


@pytest.mark.parametrize("case", [case for case in corpus.cases("chain") if case.is_good], ids=str)
def test_the_twin_of_a_field_certificate_holds(case: corpus.Case) -> None:
    """The twin that is made without the issuer's key holds under that key, on each curve."""
    leaf = case.leaf()
    twin = forms.twin(leaf)
    (issuer, *_) = [each for each in (*case.intermediates(), case.anchor()) if path.signed_by(leaf, each)]
    assert twin is None or path.signed_by(certificate.parse(twin), issuer)
    assert (twin is None) == isinstance(issuer.public_key(), rsa.RSAPublicKey)


def test_ids_of_forms_are_found_without_another_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids of a certificate's forms need no parse of the twin, which takes as long as the leaf's."""
    leaf = own(factories.authority().issue("gw-1", factories.ec_key()))
    monkeypatch.setattr(certificate, "parse", None)
    assert len(forms.ids(leaf)) == 2


def test_an_rsa_signature_has_one_form() -> None:
    """A certificate of an RSA CA has one id."""
    leaf = own(factories.authority(key=factories.rsa_key()).issue("gw-1", factories.ec_key()))
    assert forms.twin(leaf) is None
    assert forms.ids(leaf) == {leaf.fingerprint}


def test_an_rsa_signature_of_another_number_does_not_hold() -> None:
    """The modulus added to an RSA signature gives no second form, because verifiers refuse it."""
    key = factories.rsa_key()
    signature = int.from_bytes(key.sign(b"signed", padding.PKCS1v15(), SHA256()), "big")
    larger = (signature + key.public_key().public_numbers().n).to_bytes(257, "big")
    with pytest.raises(InvalidSignature):
        key.public_key().verify(larger, b"signed", padding.PKCS1v15(), SHA256())


@pytest.mark.parametrize(
    "signature",
    [b"", b"no signature", utils.encode_dss_signature(0, 1), utils.encode_dss_signature(1 << 400, 1)],
    ids=["empty", "text", "zero", "large"],
)
def test_a_signature_that_can_not_hold_has_one_form(signature: bytes) -> None:
    """A certificate whose signature holds under no key has the one id that it shows."""
    leaf = own(factories.authority().issue("gw-1", factories.ec_key()))
    changed = der.encode(der.BIT_STRING, b"\0", signature)
    broken = certificate.parse(der.encode(der.SEQUENCE, leaf.signed, leaf.algorithm.encoded, changed))
    assert forms.ids(broken) == {broken.fingerprint}


@pytest.mark.parametrize(("r", "s"), [(1, 1), (1, 2), (2, 1)])
def test_the_least_signature_has_two_forms(r: int, s: int) -> None:
    """A signature of the least numbers that may hold has two forms."""
    leaf = own(factories.authority().issue("gw-1", factories.ec_key()))
    changed = der.encode(der.BIT_STRING, b"\0", utils.encode_dss_signature(r, s))
    least = certificate.parse(der.encode(der.SEQUENCE, leaf.signed, leaf.algorithm.encoded, changed))
    assert len(forms.ids(least)) == 2
