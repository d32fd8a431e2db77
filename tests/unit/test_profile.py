"""Test the contents and the validity of the certificates that we issue.

tests/clients/test_profile.py has linters judge them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.clock import epoch, whole_seconds
from firstboot.domain.device import CertificateRecord
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from firstboot.domain.plans import CertificatePlan
from firstboot.pki import bootstrap, chain, profile
from firstboot.pki.signature import DevicePublicKey, spki_fingerprint
from tests import factories
from tests.field.encode import own
from tests.unit.fleet_folders import fleet

NOW = datetime.now(UTC)
KEY = factories.ec_key()
CA = profile.authority_certificate(KEY, "Firstboot issuing CA", NOW, 10)
ISSUER = profile.Issuer(CA, KEY)
PLAN = CertificatePlan(days=365, renew_at=0.66, grace_days=90)
DEVICE = DeviceId("gw-0001")


def _leaf(key: DevicePublicKey) -> x509.Certificate:
    record = profile.plan(spki_fingerprint(key), x509.random_serial_number(), PLAN, CA, NOW)
    return profile.operational_certificate(ISSUER, DEVICE, key, record)


LEAVES = {
    "p256": _leaf(factories.ec_key().public_key()),
    "p384": _leaf(factories.ec_key(ec.SECP384R1()).public_key()),
    "rsa": _leaf(factories.rsa_key().public_key()),
}


def _factory(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> profile.Issuer:
    return profile.Issuer(factories.authority(key=key, days=10_950).certificate, key)


def _odd_factory() -> profile.Issuer:
    """Return a CA whose key identifier is not the usual hash of its key."""
    key, name = factories.ec_key(), factories.name("Odd CA")
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=10_950))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(factories.key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier(b"line 7"), critical=False)
    )
    return profile.Issuer(builder.sign(key, hashes.SHA256()), key)


FACTORIES = {
    "p256": _factory(factories.ec_key()),
    "p384": _factory(factories.ec_key(ec.SECP384R1())),
    "rsa": _factory(factories.rsa_key()),
    "odd-identifier": _odd_factory(),
}


def _bootstrap(issuer: profile.Issuer) -> x509.Certificate:
    key = factories.ec_key().public_key()
    return profile.bootstrap_certificate(issuer, DEVICE, key, NOW, NOW + timedelta(days=7_300))


BOOTSTRAP = {f"bootstrap-{name}": (issuer, _bootstrap(issuer)) for name, issuer in FACTORIES.items()}


@pytest.mark.parametrize("name", BOOTSTRAP)
def test_a_bootstrap_certificate_passes_our_verifier(name: str) -> None:
    """A new bootstrap certificate passes our own verifier at once, under every kind of factory CA."""
    issuer, leaf = BOOTSTRAP[name]
    assert bootstrap.verify(own(leaf), [own(issuer.certificate)], NOW)[-1] == own(issuer.certificate)
    assert chain.common_name(leaf) == DEVICE
    assert leaf.not_valid_before_utc < NOW


def test_the_same_record_gives_the_same_tbs() -> None:
    """The same record gives the same bytes, so that a resumed enrollment signs the same certificate."""
    key = factories.ec_key().public_key()
    record = profile.plan(spki_fingerprint(key), 4711, PLAN, CA, NOW)
    first, second = (profile.operational_certificate(ISSUER, DEVICE, key, record) for _ in range(2))
    assert first.tbs_certificate_bytes == second.tbs_certificate_bytes


def test_a_certificate_has_what_was_recorded() -> None:
    """A certificate has the serial, times and key of its record and the name of its device."""
    key = factories.ec_key().public_key()
    record = profile.plan(spki_fingerprint(key), 4711, PLAN, CA, NOW)
    leaf = profile.operational_certificate(ISSUER, DEVICE, key, record)
    assert leaf.subject == factories.name(DEVICE)
    assert f"{leaf.serial_number:x}" == record.serial
    assert leaf.not_valid_before_utc == record.not_before == whole_seconds(NOW) - profile.BACKDATE
    assert leaf.not_valid_after_utc == record.not_after


@given(
    serial=st.integers(1, 2**159),
    days=st.integers(1, 3650),
    renew_at=st.floats(0.01, 0.99),
    age=st.integers(0, 365 * 10 - 1),
)
def test_times_are_in_order(serial: int, days: int, renew_at: float, age: int) -> None:
    """A certificate starts, becomes due for renewal and ends, in this order and before its CA ends."""
    now = NOW + timedelta(days=age)
    record = profile.plan("00", serial, CertificatePlan(days, renew_at, 0), CA, now)
    assert record.not_before < record.renew_after <= record.not_after
    assert record.not_after < CA.not_valid_after_utc
    assert record.renew_after.microsecond == 0


def test_renewals_of_a_storm_spread() -> None:
    """Certificates that are issued in the same second become due for renewal in many different hours."""
    due = {epoch(profile.plan("00", serial, PLAN, CA, NOW).renew_after) // 3600 for serial in range(1000)}
    assert len(due) > 500


@given(
    serial=st.integers(1, 2**159),
    days=st.integers(1, 3650),
    renew_at=st.floats(0.01, 0.99),
    left=st.timedeltas(timedelta(hours=1), timedelta(days=8000)),
)
def test_renewals_do_not_come_faster_near_the_end_of_the_ca(
    serial: int, days: int, renew_at: float, left: timedelta
) -> None:
    """A device renews at its group's rate until it has a certificate that ends with the CA."""
    now, plan = CA.not_valid_after_utc - left, CertificatePlan(days, renew_at, 0)
    shortest = plan.lifetime * renew_at - profile.BACKDATE
    while True:
        record = profile.plan("00", serial, plan, CA, now)
        if record.renew_after == record.not_after:
            break
        assert record.renew_after - now >= shortest - timedelta(seconds=2)
        now = record.renew_after
    assert record.not_after == CA.not_valid_after_utc - timedelta(seconds=1)


def test_a_certificate_that_ends_with_the_ca_is_the_last() -> None:
    """A certificate that the CA's end shortens is due at its end, and any other one earlier."""
    last = profile.plan("00", 1, PLAN, CA, CA.not_valid_after_utc - PLAN.lifetime)
    assert last.renew_after == last.not_after == CA.not_valid_after_utc - timedelta(seconds=1)
    whole = profile.plan("00", 1, PLAN, CA, CA.not_valid_after_utc - PLAN.lifetime - timedelta(seconds=1))
    assert whole.not_after == last.not_after
    assert whole.renew_after < whole.not_after


def test_an_expired_ca_issues_nothing() -> None:
    """An expired CA issues no certificate."""
    late = CA.not_valid_after_utc + timedelta(days=1)
    with pytest.raises(Unavailable):
        profile.plan("00", 1, PLAN, CA, late)


def _contents(certificate: x509.Certificate) -> dict[type, tuple[object, bool]]:
    return {type(each.value): (each.value, each.critical) for each in certificate.extensions}


def test_the_issuing_ca_has_one_profile() -> None:
    """The issuing CA's certificate signs itself, certifies devices only, and has the lifetime asked for."""
    key = factories.ec_key()
    made = profile.authority_certificate(key, "Our CA", NOW, 3)
    made.verify_directly_issued_by(made)
    assert made.subject == made.issuer == factories.name("Our CA")
    assert made.public_key() == key.public_key()
    assert made.not_valid_before_utc == whole_seconds(NOW) - timedelta(minutes=5)
    assert made.not_valid_after_utc == made.not_valid_before_utc + timedelta(days=3 * 365)
    assert isinstance(made.signature_hash_algorithm, hashes.SHA256)
    assert _contents(made) == {
        x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=0), True),
        x509.KeyUsage: (factories.key_usage(ca=True), True),
        x509.SubjectKeyIdentifier: (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    }
    other = profile.authority_certificate(key, "Our CA", NOW, 3)
    assert other.serial_number != made.serial_number


def test_a_ca_that_differs_is_described() -> None:
    """A CA whose name or lifetime is another than the configured one is described by both."""
    made = profile.authority_certificate(KEY, "Our CA", NOW, 3)
    assert profile.authority_differs(made, "Our CA", 3) is None
    assert profile.authority_differs(made, "Your CA", 3) == "CN=Our CA, 1095 days"
    assert profile.authority_differs(made, "Our CA", 4) == "CN=Our CA, 1095 days"


def test_a_device_certificate_has_one_profile() -> None:
    """An operational certificate has these extensions, of which two are critical."""
    key = factories.ec_key().public_key()
    made = _leaf(key)
    made.verify_directly_issued_by(CA)
    identifier = CA.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    client = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    assert made.public_key() == key
    assert isinstance(made.signature_hash_algorithm, hashes.SHA256)
    assert _contents(made) == {
        x509.BasicConstraints: (x509.BasicConstraints(ca=False, path_length=None), True),
        x509.KeyUsage: (factories.key_usage(ca=False), True),
        x509.ExtendedKeyUsage: (client, False),
        x509.SubjectKeyIdentifier: (x509.SubjectKeyIdentifier.from_public_key(key), False),
        x509.AuthorityKeyIdentifier: (above, False),
    }


def test_the_identifier_of_a_ca_without_one_is_computed() -> None:
    """Under a CA whose certificate has no key identifier, the identifier is the hash of the CA's key."""
    key, name = factories.ec_key(), factories.name("Bare CA")
    bare = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=9))
        .sign(key, hashes.SHA256())
    )
    made = _bootstrap(profile.Issuer(bare, key))
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    assert _contents(made)[x509.AuthorityKeyIdentifier] == (above, False)


@pytest.mark.parametrize(
    ("placed", "subject", "names"),
    [
        ({}, "CN=gw-1", None),
        ({"subject.serialNumber": "SN 1"}, "2.5.4.5=SN 1,CN=gw-1", None),
        ({"san.uri": "urn:a:1"}, "CN=gw-1", [x509.UniformResourceIdentifier("urn:a:1")]),
        ({"san.dns": "gw-1.example"}, "CN=gw-1", [x509.DNSName("gw-1.example")]),
    ],
    ids=["name", "serial-number", "uri", "dns"],
)
def test_an_id_is_placed_in_a_bootstrap_certificate(
    placed: dict[str, str], subject: str, names: list[x509.GeneralName] | None
) -> None:
    """A bootstrap certificate has the values that are placed in it, its period, and a serial of its own."""
    factory, key, end = FACTORIES["p256"], factories.ec_key().public_key(), NOW + timedelta(days=9)
    made = profile.bootstrap_certificate(factory, "gw-1", key, NOW, end, placed)
    made.verify_directly_issued_by(factory.certificate)
    assert made.subject.rfc4514_string() == subject
    assert made.public_key() == key
    assert made.not_valid_before_utc == whole_seconds(NOW) - timedelta(minutes=5)
    assert made.not_valid_after_utc == whole_seconds(end)
    found = _contents(made).get(x509.SubjectAlternativeName)
    assert found == (names and (x509.SubjectAlternativeName(names), False))
    again = profile.bootstrap_certificate(factory, "gw-1", key, NOW, end, placed)
    assert again.serial_number != made.serial_number


def _record(serial: int, days: int = 100, renew_at: float = 0.5) -> CertificateRecord:
    return profile.plan("00", serial, CertificatePlan(days, renew_at, 0), CA, NOW)


@pytest.mark.parametrize(("serial", "share"), [(0, 0.5), (500, 0.5625), (999, 0.624875), (1_000, 0.5)])
def test_a_renewal_is_due_within_a_quarter_of_the_rest(serial: int, share: float) -> None:
    """A renewal is due from `renew_at` on, later by up to a quarter of what is left, as the serial says."""
    record = _record(serial)
    lifetime = (record.not_after - record.not_before).total_seconds()
    assert record.renew_after == record.not_before + timedelta(seconds=int(lifetime * share))
    assert record.not_before == whole_seconds(NOW) - timedelta(minutes=5)
    assert record.not_after == whole_seconds(NOW) + timedelta(days=100)
    assert (record.serial, record.spki) == (f"{serial:x}", "00")


def test_a_certificate_ends_a_second_before_its_ca() -> None:
    """A certificate ends a second before its CA at the latest, and a CA in its last second issues none."""
    second = timedelta(seconds=1)
    assert _record(1, days=4_000).not_after == CA.not_valid_after_utc - second
    last = CA.not_valid_after_utc - 2 * second
    assert profile.plan("00", 1, PLAN, CA, last).not_after == last + second
    with pytest.raises(Unavailable) as caught:
        profile.plan("00", 1, PLAN, CA, last + second)
    assert caught.value.log == "the issuing CA has expired"


GROUP = fleet().groups["gateways"]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ({}, {}),
        ({"strip_prefix": "acme-"}, None),
        ({"pattern": "(.*)"}, None),
        ({"device_id": "key.sha256"}, None),
        ({"device_id": "subject.serialNumber"}, {"subject.serialNumber": "gw-1"}),
        (
            {"device_id": "san.uri", "strip_prefix": "urn:", "strip_suffix": ":x"},
            {"san.uri": "urn:gw-1:x"},
        ),
    ],
)
def test_what_names_a_device_is_placed(group: dict[str, str], expected: dict[str, str] | None) -> None:
    """A certificate can be made for an id that can stand, with what is stripped, where the group reads it."""
    assert profile.placed(replace(GROUP, **group), "gw-1") == expected  # type: ignore[arg-type]
