"""Our certificates, judged by others' tools: pkilint and OpenSSL."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from firstboot.errors import Unavailable
from firstboot.fleet.model import CertificatePlan
from firstboot.names import DeviceId
from firstboot.pki import profile
from firstboot.pki.csr import DevicePublicKey, spki_fingerprint
from tests import factories

NOW = datetime.now(UTC)
EPOCH = int(NOW.timestamp())
KEY = factories.ec_key()
CA = profile.authority_certificate(KEY, "Firstboot issuing CA", NOW, 10)
ISSUER = profile.Issuer(CA, KEY)
PLAN = CertificatePlan(days=365, renew_at=0.66, grace_days=90)
DEVICE = DeviceId("gw-0001")


def _leaf(key: DevicePublicKey) -> x509.Certificate:
    record = profile.plan(spki_fingerprint(key), x509.random_serial_number(), PLAN, CA, EPOCH)
    return profile.operational_certificate(ISSUER, DEVICE, key, record)


LEAVES = {
    "p256": _leaf(factories.ec_key().public_key()),
    "p384": _leaf(factories.ec_key(ec.SECP384R1()).public_key()),
    "rsa": _leaf(factories.rsa_key().public_key()),
}


@pytest.mark.parametrize("certificate", [CA, *LEAVES.values()], ids=["ca", *LEAVES])
def test_pkilint_finds_nothing(certificate: x509.Certificate, tmp_path: Path) -> None:
    """Leaf and CA pass RFC 5280's linter at WARNING."""
    file = tmp_path / "certificate.pem"
    file.write_text(factories.pem(certificate))
    linter = Path(sys.executable).with_name("lint_pkix_cert")
    run = subprocess.run([linter, "lint", "-s", "WARNING", file], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("leaf", LEAVES.values(), ids=LEAVES)
def test_openssl_verifies_strictly(leaf: x509.Certificate, tmp_path: Path) -> None:
    """OpenSSL takes the chain for client authentication under its strictest reading."""
    (tmp_path / "ca.pem").write_text(factories.pem(CA))
    (tmp_path / "leaf.pem").write_text(factories.pem(leaf))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "ca.pem", "leaf.pem"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_same_record_gives_the_same_tbs() -> None:
    """What is signed depends on the recorded intent only, so a resumed enrollment signs the same."""
    key = factories.ec_key().public_key()
    record = profile.plan(spki_fingerprint(key), 4711, PLAN, CA, EPOCH)
    first, second = (profile.operational_certificate(ISSUER, DEVICE, key, record) for _ in range(2))
    assert first.tbs_certificate_bytes == second.tbs_certificate_bytes


def test_a_certificate_says_what_was_recorded() -> None:
    """Serial, times and key are the record's, the name is the device's."""
    key = factories.ec_key().public_key()
    record = profile.plan(spki_fingerprint(key), 4711, PLAN, CA, EPOCH)
    leaf = profile.operational_certificate(ISSUER, DEVICE, key, record)
    assert leaf.subject == factories.name(DEVICE)
    assert f"{leaf.serial_number:x}" == record.serial
    assert leaf.not_valid_before_utc.timestamp() == record.not_before == EPOCH - profile.BACKDATE_SECONDS
    assert leaf.not_valid_after_utc.timestamp() == record.not_after


@given(
    serial=st.integers(1, 2**159),
    days=st.integers(1, 3650),
    renew_at=st.floats(0.01, 0.99),
    age=st.integers(0, 365 * 10 - 1),
)
def test_times_are_in_order(serial: int, days: int, renew_at: float, age: int) -> None:
    """Start, renewal and end follow one another, and a leaf ends before its CA."""
    now = EPOCH + age * 86_400
    record = profile.plan("00", serial, CertificatePlan(days, renew_at, 0), CA, now)
    assert record.not_before < record.renew_after < record.not_after
    assert record.not_after < CA.not_valid_after_utc.timestamp()


def test_renewals_of_a_storm_spread() -> None:
    """Devices that enroll in the same second don't renew in the same hour."""
    due = {profile.plan("00", serial, PLAN, CA, EPOCH).renew_after // 3600 for serial in range(1000)}
    assert len(due) > 500


def test_an_expired_ca_issues_nothing() -> None:
    """There is no certificate that would end before a CA that has ended."""
    late = int((CA.not_valid_after_utc + timedelta(days=1)).timestamp())
    with pytest.raises(Unavailable):
        profile.plan("00", 1, PLAN, CA, late)
