"""Test the verification of client certificates, and the error of each refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import NameOID

from firstboot.domain.errors import AuthenticationError, CertificateExpired
from firstboot.pki import chain
from firstboot.pki.errors import (
    AnchorConflict,
    CertificateKeyWeak,
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateUntrusted,
    CertificateUsageWrong,
)
from tests.factories import authority, ec_key, key_usage, pem, rsa_key

NOW = datetime.now(UTC) + timedelta(hours=1)  # ahead, so that certificates that a slow run makes are valid
FACTORY = authority()


@pytest.mark.parametrize("key", [ec_key(), ec_key(ec.SECP384R1()), rsa_key()], ids=["p256", "p384", "rsa"])
def test_a_good_leaf_chains_to_its_anchor(key: ec.EllipticCurvePrivateKey) -> None:
    """A certificate with any accepted kind of key verifies, and the result is its anchor."""
    leaf = FACTORY.issue("dev-1", key)
    assert chain.verify(leaf, [authority().certificate, FACTORY.certificate], NOW) == FACTORY.certificate


def test_a_leaf_chains_to_the_nearest_anchor() -> None:
    """A certificate verifies to the nearest anchor above it, because that anchor decides the group."""
    line = FACTORY.intermediate("Line 1")
    leaf = line.issue("dev-1", ec_key())
    assert chain.verify(leaf, [FACTORY.certificate, line.certificate], NOW) == line.certificate


def test_a_leaf_whose_usage_is_unrestricted_passes() -> None:
    """A certificate without keyUsage passes: RFC 5280 restricts usage only where the extension is present."""
    leaf = FACTORY.issue("dev-1", ec_key(), usage=None)
    assert chain.verify(leaf, [FACTORY.certificate], NOW)


_OLD = authority(days=2)
_CRITICAL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)


@pytest.mark.parametrize(
    ("leaf", "anchor", "error"),
    [
        (authority().issue("dev-1", ec_key()), FACTORY, CertificateUntrusted),
        (FACTORY.intermediate("Line").issue("dev-1", ec_key()), FACTORY, CertificateUntrusted),
        (FACTORY.issue("dev-1", ec_key(), extra=[_CRITICAL]), FACTORY, CertificateUntrusted),
        (_OLD.issue("dev-1", ec_key(), days=9), _OLD, CertificateUntrusted),
        (FACTORY.issue("dev-1", ec_key(), eku=None), FACTORY, CertificateUsageWrong),
        (FACTORY.issue("dev-1", ec_key(), eku=Purpose.SERVER_AUTH), FACTORY, CertificateUsageWrong),
        (FACTORY.issue("dev-1", ec_key(), ca=True), FACTORY, CertificateUsageWrong),
        (FACTORY.certificate, FACTORY, CertificateUsageWrong),
        (
            FACTORY.issue("dev-1", ec_key(), usage=key_usage(ca=False, digital_signature=False)),
            FACTORY,
            CertificateUsageWrong,
        ),
        (
            FACTORY.issue("dev-1", ec_key(), usage=key_usage(ca=False, key_cert_sign=True)),
            FACTORY,
            CertificateUsageWrong,
        ),
        (FACTORY.issue("dev-1", rsa_key(1024)), FACTORY, CertificateKeyWeak),
        (FACTORY.issue("dev-1", ec_key(ec.SECP256K1())), FACTORY, CertificateKeyWeak),
        (FACTORY.issue("dev-1", ec_key(ec.SECP521R1())), FACTORY, CertificateKeyWeak),
        (FACTORY.issue("dev-1", ed25519.Ed25519PrivateKey.generate()), FACTORY, CertificateKeyWeak),
    ],
    ids=[
        "rogue", "missing-intermediate", "critical-extension", "expired-anchor", "no-eku", "server-eku",
        "ca-as-leaf", "anchor-itself", "no-signature-usage", "cert-sign-usage", "rsa-1024", "secp256k1",
        "p521", "ed25519",
    ],
)  # fmt: skip
def test_a_bad_leaf_is_refused(
    leaf: x509.Certificate, anchor: object, error: type[AuthenticationError]
) -> None:
    """Each fault of a client certificate is refused with the error for that fault."""
    now = NOW + timedelta(days=3) if anchor is _OLD else NOW
    with pytest.raises(error):
        chain.verify(leaf, [anchor.certificate], now)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("days", "error"), [(-1, CertificateNotYetValid), (366, CertificateExpired)], ids=["early", "late"]
)
def test_outside_its_validity_a_leaf_is_refused(days: int, error: type[AuthenticationError]) -> None:
    """A certificate is refused before and after its validity."""
    leaf = FACTORY.issue("dev-1", ec_key())
    with pytest.raises(error):
        chain.verify(leaf, [FACTORY.certificate], NOW + timedelta(days=days))


def test_no_chain_may_exceed_a_path_length() -> None:
    """A certificate under a CA that breaks a path length is untrusted."""
    limited = FACTORY.intermediate("Limited", path_length=0)
    below = limited.intermediate("Below")
    with pytest.raises(CertificateUntrusted):
        chain.verify(below.issue("dev-1", ec_key()), [FACTORY.certificate], NOW)


@pytest.mark.parametrize("text", ["", "no pem", pem(FACTORY.certificate)[:200], "A" * 20_000, "\udcff"])
def test_text_that_is_no_certificate_is_malformed(text: str) -> None:
    """Text that is no certificate raises CertificateMalformed and no other exception."""
    with pytest.raises(CertificateMalformed):
        chain.parse(text)


def test_a_certificate_of_another_version_is_malformed() -> None:
    """A certificate of an unknown version is malformed, although its parser error is no ValueError."""
    der = FACTORY.issue("dev-1", ec_key()).public_bytes(Encoding.DER)
    with pytest.raises(CertificateMalformed):
        chain.parse_der(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1))


def test_a_subject_has_one_common_name() -> None:
    """A subject must have one common name, so that all code reads the same device from a certificate."""
    two = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn) for cn in ("dev-1", "dev-2")])
    for subject in (two, x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o")])):
        with pytest.raises(CertificateMalformed):
            chain.common_name(FACTORY.issue("dev-1", ec_key(), subject=subject))


def test_anchors_must_be_unrelated_to_our_ca() -> None:
    """An anchor that is our CA, above it or below it is refused: it could make operational certificates."""
    root = authority("Root")
    ours = root.intermediate("Ours")
    twin = authority("Twin", ours.key)
    under = ours.intermediate("Under")
    for conflicting in (ours, root, twin, under):
        with pytest.raises(AnchorConflict):
            chain.check_anchors([FACTORY.certificate, conflicting.certificate], ours.certificate)
    chain.check_anchors([FACTORY.certificate], ours.certificate)
