"""Test the product's certificates with other authors' tools: pkilint and OpenSSL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from firstboot.pki import profile
from tests import factories
from tests.unit.test_profile import BOOTSTRAP, CA, ISSUER, LEAVES

LINTED = {"ca": CA, **LEAVES, **{name: leaf for name, (_, leaf) in BOOTSTRAP.items()}}
CHAINS = {**{name: (ISSUER, leaf) for name, leaf in LEAVES.items()}, **BOOTSTRAP}


@pytest.mark.parametrize("certificate", LINTED.values(), ids=LINTED)
def test_pkilint_finds_nothing(certificate: x509.Certificate, tmp_path: Path) -> None:
    """Leaves and CA pass pkilint's check of RFC 5280 at WARNING."""
    file = tmp_path / "certificate.pem"
    file.write_text(factories.pem(certificate))
    linter = Path(sys.executable).with_name("lint_pkix_cert")
    run = subprocess.run([linter, "lint", "-s", "WARNING", file], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(("issuer", "leaf"), CHAINS.values(), ids=CHAINS)
def test_openssl_verifies_strictly(issuer: profile.Issuer, leaf: x509.Certificate, tmp_path: Path) -> None:
    """OpenSSL accepts the chain for client authentication in its strict mode."""
    (tmp_path / "ca.pem").write_bytes(issuer.pem)
    (tmp_path / "leaf.pem").write_text(factories.pem(leaf))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "ca.pem", "leaf.pem"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
