"""Bootstrap certificates: which chains are accepted, and with which error the others are refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import NameOID

from firstboot.domain.clock import iso
from firstboot.domain.errors import AuthenticationError, CertificateExpired, Reason
from firstboot.pki import bootstrap, certificate, der, sources
from firstboot.pki.anchors import check_anchors
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import (
    AnchorConflict,
    CertificateKeyWeak,
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateUntrusted,
    CertificateUsageWrong,
)
from tests.factories import Authority, authority, ec_key, key_usage, rsa_key
from tests.field import encode
from tests.field.encode import own

NOW = datetime.now(UTC) + timedelta(hours=1)  # ahead, so that certificates that a slow run makes are valid
FACTORY = authority()


def verify(leaf: x509.Certificate, *anchors: Authority, now: datetime = NOW) -> list[Certificate]:
    """Return the path of a leaf below one of the anchors."""
    return bootstrap.verify(own(leaf), [own(each.certificate) for each in anchors], now)


@pytest.mark.parametrize("key", [ec_key(), ec_key(ec.SECP384R1()), rsa_key()], ids=["p256", "p384", "rsa"])
def test_a_good_leaf_chains_to_its_anchor(key: ec.EllipticCurvePrivateKey) -> None:
    """A certificate with any accepted kind of key verifies, and the result is its anchor."""
    assert verify(FACTORY.issue("dev-1", key), authority(), FACTORY)[-1] == own(FACTORY.certificate)


def test_a_leaf_chains_to_the_nearest_anchor() -> None:
    """A certificate verifies to the nearest anchor above it, because that anchor decides the group."""
    line = FACTORY.intermediate("Line 1")
    assert verify(line.issue("dev-1", ec_key()), FACTORY, line)[-1] == own(line.certificate)


def test_a_leaf_whose_usage_is_unrestricted_passes() -> None:
    """A certificate without keyUsage passes: RFC 5280 restricts usage only where the extension is present."""
    assert verify(FACTORY.issue("dev-1", ec_key(), usage=None), FACTORY)


def test_a_leaf_whose_extended_usage_is_unrestricted_passes() -> None:
    """A certificate without extendedKeyUsage passes (RFC 5280 section 4.2.1.12)."""
    assert verify(FACTORY.issue("dev-1", ec_key(), eku=None), FACTORY)


_OLD = authority(days=2)
_CRITICAL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)


@pytest.mark.parametrize(
    ("leaf", "anchor", "error"),
    [
        (authority().issue("dev-1", ec_key()), FACTORY, CertificateUntrusted),
        (FACTORY.intermediate("Line").issue("dev-1", ec_key()), FACTORY, CertificateUntrusted),
        (FACTORY.issue("dev-1", ec_key(), extra=[_CRITICAL]), FACTORY, CertificateUntrusted),
        (_OLD.issue("dev-1", ec_key(), days=9), _OLD, CertificateUntrusted),
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
        "rogue", "missing-intermediate", "critical-extension", "expired-anchor", "server-eku",
        "ca-as-leaf", "anchor-itself", "no-signature-usage", "cert-sign-usage", "rsa-1024", "secp256k1",
        "p521", "ed25519",
    ],
)  # fmt: skip
def test_a_bad_leaf_is_refused(
    leaf: x509.Certificate, anchor: Authority, error: type[AuthenticationError]
) -> None:
    """Each fault of a client certificate is refused with the error for that fault."""
    now = NOW + timedelta(days=3) if anchor is _OLD else NOW
    with pytest.raises(error):
        verify(leaf, anchor, now=now)


@pytest.mark.parametrize(
    ("days", "error"), [(-1, CertificateNotYetValid), (366, CertificateExpired)], ids=["early", "late"]
)
def test_outside_its_validity_a_leaf_is_refused(days: int, error: type[AuthenticationError]) -> None:
    """A certificate is refused before and after its validity."""
    leaf = FACTORY.issue("dev-1", ec_key())
    with pytest.raises(error):
        verify(leaf, FACTORY, now=NOW + timedelta(days=days))


def test_no_chain_may_exceed_a_path_length() -> None:
    """A certificate under a CA that breaks a path length is untrusted."""
    limited = FACTORY.intermediate("Limited", path_length=0)
    below = limited.intermediate("Below")
    leaf = own(below.issue("dev-1", ec_key()))
    above = [own(each.certificate) for each in (below, limited)]
    with pytest.raises(CertificateUntrusted, match="fewer CAs below it"):
        bootstrap.verify(leaf, [own(FACTORY.certificate)], NOW, above)


def test_a_subject_has_one_common_name() -> None:
    """A subject must have one common name, so that all code reads the same device from a certificate."""
    two = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn) for cn in ("dev-1", "dev-2")])
    for subject in (two, x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o")])):
        with pytest.raises(CertificateMalformed):
            sources.value(own(FACTORY.issue("dev-1", ec_key(), subject=subject)), "subject.CN")


def test_anchors_must_be_unrelated_to_our_ca() -> None:
    """An anchor that is our CA, above it or below it is refused: it could make operational certificates."""
    root = authority("Root")
    ours = root.intermediate("Ours")
    conflicting = (ours, root, authority("Twin", ours.key), ours.intermediate("Under"))
    for each in conflicting:
        with pytest.raises(AnchorConflict) as caught:
            check_anchors([own(FACTORY.certificate), own(each.certificate)], ours.certificate)
        assert caught.value.log == own(each.certificate).subject.text()
    check_anchors([own(FACTORY.certificate)], ours.certificate)


@pytest.mark.parametrize(
    ("serial", "reason", "text"),
    [
        (b"\xff", Reason.CERTIFICATE_ENCODING, "has a negative serial number"),
        (b"\0", Reason.CERTIFICATE_ALGORITHM, "is not signed with SHA-2: ECDSA with SHA-1"),
        (b"\1", Reason.CERTIFICATE_ALGORITHM, "is not signed with SHA-2: ECDSA with SHA-1"),
    ],
)
def test_a_weak_leaf_is_refused_for_its_reason(serial: bytes, reason: Reason, text: str) -> None:
    """The refusal of a leaf signed with SHA-1 names the algorithm, unless its serial number is negative."""
    leaf = FACTORY.issue("gw-1", ec_key())

    def change(fields: list[bytes]) -> list[bytes]:
        return [fields[0], der.encode(der.INTEGER, serial), *fields[2:]]

    weak = certificate.parse(encode.resigned(leaf, FACTORY.key, change, encode.SHA1_ECDSA, hashes.SHA1()))  # noqa: S303
    with pytest.raises(CertificateUntrusted) as caught:
        bootstrap.verify(weak, [own(FACTORY.certificate)], NOW)
    assert (caught.value.detail, caught.value.reason) == (f"The certificate {text}", reason)


def test_a_ca_without_a_path_length_may_have_cas() -> None:
    """A CA may have CAs below it unless its path length is 0."""
    lengths = {None: True, 0: False, 1: True}
    for length, allowed in lengths.items():
        assert (
            bootstrap.allows_cas(own(FACTORY.intermediate("Line", path_length=length).certificate)) is allowed
        )
    bare = encode.changed(FACTORY.issue("gw-1", ec_key()), FACTORY, lambda fields: fields[:-1])
    assert bootstrap.allows_cas(bare)


OLD = authority("Old", days=0.5)
STRANGER = authority("Old").issue("gw-1", ec_key())


def test_a_stranger_learns_nothing_about_an_anchor() -> None:
    """The refusal tells the dates of an expired anchor only to a sender with a certificate of that anchor."""
    dates = f"is valid from {iso(OLD.certificate.not_valid_before_utc)}"
    with pytest.raises(CertificateUntrusted) as known:
        verify(OLD.issue("gw-1", ec_key()), OLD)
    assert known.value.detail.startswith(f"No path leads to a trust anchor: CN=Old {dates}")
    assert known.value.reason is Reason.CERTIFICATE_DATES
    with pytest.raises(CertificateUntrusted) as unknown:
        bootstrap.verify(_unidentified(STRANGER), [own(OLD.certificate)], NOW)
    assert unknown.value.detail == "No path leads to a trust anchor"
    assert unknown.value.log.startswith(f"CN=Old {dates}")
    assert unknown.value.reason is CertificateUntrusted.reason
    # A sender that has the anchor's own certificate knows its dates.
    line = own(FACTORY.intermediate("Old", not_before=NOW - timedelta(days=9), days=1).certificate)
    with pytest.raises(CertificateUntrusted) as sender:
        bootstrap.verify(_unidentified(STRANGER), [line], NOW, [line])
    assert f"is valid from {iso(line.not_before)}" in sender.value.detail


def _unidentified(leaf: x509.Certificate) -> Certificate:
    """Return the leaf without the identifier of its issuer's key, with a signature that does not hold."""

    def change(fields: list[bytes]) -> list[bytes]:
        kept = (each.encoded for each in der.read(fields[7]).children[0].children)
        others = [each for each in kept if der.encode(der.OID, bytes([0x55, 0x1D, 0x23])) not in each]
        return [*fields[:7], der.encode(0xA3, der.encode(der.SEQUENCE, *others))]

    return encode.changed(leaf, authority("Old"), change)


def test_a_left_out_intermediate_is_named() -> None:
    """The refusal without a path says which intermediate was left out, and why."""
    leaf = FACTORY.issue("line", ec_key())
    with pytest.raises(CertificateUntrusted) as caught:
        bootstrap.verify(own(STRANGER), [own(FACTORY.certificate)], NOW, [own(leaf)])
    assert caught.value.detail.endswith(
        "; CN=line is not a CA certificate (X.509 v3 with basicConstraints cA TRUE)"
    )


NO_SIGNATURE = key_usage(ca=False, digital_signature=False)
DETAILS: dict[str, tuple[Certificate, str]] = {
    "a CA": (own(FACTORY.issue("a", ec_key(), ca=True)), "The certificate is a CA's (basicConstraints)"),
    "no signature": (
        own(FACTORY.issue("a", ec_key(), usage=NO_SIGNATURE)),
        "keyUsage does not have digitalSignature",
    ),
    "signs certificates": (
        own(FACTORY.issue("a", ec_key(), usage=key_usage(ca=False, key_cert_sign=True))),
        "keyUsage has keyCertSign",
    ),
    "for servers": (
        own(FACTORY.issue("a", ec_key(), eku=Purpose.SERVER_AUTH)),
        "extendedKeyUsage has neither clientAuth nor anyExtendedKeyUsage",
    ),
    "weak": (
        own(FACTORY.issue("a", ec_key(ec.SECP521R1()))),
        "The certificate has a key on the curve secp521r1, not on P-256 or P-384",
    ),
    "future": (
        own(FACTORY.issue("a", ec_key(), not_before=NOW.replace(microsecond=0) + timedelta(seconds=1))),
        f"The certificate is valid from {iso(NOW + timedelta(seconds=1))}",
    ),
    "past": (
        own(FACTORY.issue("a", ec_key(), not_before=NOW - timedelta(days=2), days=1)),
        f"The certificate ended at {iso(NOW - timedelta(days=1))}",
    ),
    "extension": (
        encode.changed(
            FACTORY.issue("a", ec_key()),
            FACTORY,
            lambda fields: [
                *fields[:7],
                der.encode(0xA3, der.encode(0x30, encode.extension("2.5.29.15", b"\x03\x00"))),
            ],
        ),
        "An extension of the certificate is not in DER: 2.5.29.15: the content of tag 0x03 is not in DER",
    ),
    "key": (
        encode.changed(
            FACTORY.issue("a", ec_key()), FACTORY, lambda fields: [*fields[:6], der.encode(0x30), fields[7]]
        ),
        "The certificate's key is not in DER: a SubjectPublicKeyInfo has two values",
    ),
}


@pytest.mark.parametrize("kind", DETAILS)
def test_a_refused_leaf_is_explained(kind: str) -> None:
    """The refusal of a leaf says what is wrong with it."""
    leaf, detail = DETAILS[kind]
    with pytest.raises(AuthenticationError) as caught:
        bootstrap.verify(leaf, [own(FACTORY.certificate)], NOW)
    assert caught.value.detail == detail


@pytest.mark.parametrize("side", ["first", "last"])
def test_the_first_and_the_last_second_of_a_leaf_are_valid(side: str) -> None:
    """A leaf is valid in the second in which it begins, and in the second in which it ends."""
    leaf = FACTORY.issue("a", ec_key())
    at = leaf.not_valid_before_utc if side == "first" else leaf.not_valid_after_utc
    assert verify(leaf, FACTORY, now=at)


SERVERS = (x509.ExtendedKeyUsage([Purpose.SERVER_AUTH]), False)


def _without_cert_sign() -> Certificate:
    line = FACTORY.intermediate("Line").certificate
    usage = encode.extension("2.5.29.15", bytes.fromhex("03020780"), critical=True)

    def change(fields: list[bytes]) -> list[bytes]:
        kept = [each.encoded for each in der.read(fields[7]).children[0].children]
        return [*fields[:7], der.encode(0xA3, der.encode(0x30, kept[0], usage, *kept[4:]))]

    return encode.changed(line, FACTORY, change)


NO_CA = "is not a CA certificate (X.509 v3 with basicConstraints cA TRUE)"
UNFIT: dict[str, tuple[Certificate, str | None]] = {
    "fit": (own(FACTORY.intermediate("Line").certificate), None),
    "no CA": (own(FACTORY.issue("a", ec_key())), NO_CA),
    "v1": (encode.changed(FACTORY.certificate, FACTORY, lambda fields: fields[1:7]), NO_CA),
    "usage": (_without_cert_sign(), "may not sign certificates (keyUsage without keyCertSign)"),
    "servers": (
        own(FACTORY.intermediate("Line", extra=[SERVERS]).certificate),
        "may not issue client certificates (extendedKeyUsage without clientAuth)",
    ),
    "key": (
        own(FACTORY.issue("a", ec_key(ec.SECP521R1()), ca=True)),
        "has a key on the curve secp521r1, not on P-256 or P-384",
    ),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_an_unfit_issuer_is_explained(kind: str) -> None:
    """A certificate that can't be an issuer has a text that says why, as an anchor too."""
    issuer, reason = UNFIT[kind]
    assert bootstrap.unfit_issuer(issuer) == bootstrap.unfit_issuer(issuer, is_anchor=True) == reason


def test_only_an_anchor_may_have_a_weak_signature() -> None:
    """A CA certificate that is signed with SHA-1 can be an anchor and no intermediate."""
    line = FACTORY.intermediate("Line")
    weak = certificate.parse(
        encode.resigned(
            line.certificate,
            FACTORY.key,
            lambda fields: fields,
            encode.SHA1_ECDSA,
            hashes.SHA1(),  # noqa: S303
        )
    )
    assert bootstrap.unfit_issuer(weak) == "is not signed with SHA-2: ECDSA with SHA-1"
    assert bootstrap.unfit_issuer(weak, is_anchor=True) is None
    assert bootstrap.verify(own(line.issue("a", ec_key())), [weak], NOW)[-1] == weak


def test_a_path_has_two_intermediates_at_most() -> None:
    """A path with three intermediates is refused, and the refusal says how many it may have."""
    one = FACTORY.intermediate("1")
    two = one.intermediate("2")
    three = two.intermediate("3")
    above = [own(each.certificate) for each in (one, two, three)]
    assert len(bootstrap.verify(own(two.issue("a", ec_key())), [own(FACTORY.certificate)], NOW, above)) == 4
    with pytest.raises(CertificateUntrusted) as caught:
        bootstrap.verify(own(three.issue("a", ec_key())), [own(FACTORY.certificate)], NOW, above)
    assert caught.value.detail == "The path has more than 2 intermediate certificates"


def test_an_unfit_anchor_is_named() -> None:
    """The refusal of a path to an unfit anchor names the anchor and says why."""
    line = FACTORY.intermediate("Line", extra=[SERVERS])
    with pytest.raises(CertificateUntrusted) as caught:
        verify(line.issue("a", ec_key()), line)
    assert caught.value.detail == (
        "The trust anchor CN=Line may not issue client certificates (extendedKeyUsage without clientAuth)"
    )
