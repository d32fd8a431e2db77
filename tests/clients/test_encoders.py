"""CSRs and certificates that other libraries make now, judged by the product, and first boots with them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from firstboot.pki import bootstrap, certificate, csr, der
from local.processes import ROOT
from tests import factories
from tests.clients import encoders, tpm
from tests.clients.encoders import LIBRARIES, Library
from tests.field import corpus, remade
from tests.flows.conftest import Cloud
from tests.flows.devices import fresh_name, issued

SCRIPT = ROOT / "device" / "firstboot.sh"

CA_TEMPLATE = 'cn = "Factory"\norganization = "Gnu"\nca\ncert_signing_key\nexpiration_days = 3650\n'
LEAF_TEMPLATE = 'cn = "SN-1"\nserial = 9\nsigning_key\nexpiration_days = 3650\n'
CSR_TEMPLATE = (
    'cn = "device"\nchallenge_password = secret\nsigning_key\ntls_www_client\ndns_name = "a.example"\n'
)

Write = Callable[[Path], None]
"""Writes csr.der, ca.der and leaf.der into a folder; the leaf is for the key of the CSR."""


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tpm.Tpm]:
    """Give a TPM."""
    with tpm.running(tmp_path_factory.mktemp("tpm") / "chip") as chip:
        yield chip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Library], Path]:
    """Give a compiler of the programs in C."""
    return lambda library: library.build(tmp_path_factory.mktemp("built"))


def gnutls(folder: Path) -> None:
    """Write by GnuTLS's certtool, which puts text before the PEM."""
    for name, template in {"ca": CA_TEMPLATE, "leaf": LEAF_TEMPLATE, "csr": CSR_TEMPLATE}.items():
        (folder / f"{name}.template").write_text(template)
    for name in ("ca", "leaf"):
        _certtool(folder, f"{name}.key", "--generate-privkey", "--key-type", "ecdsa", "--curve", "secp256r1")
    _certtool(folder, "ca.der", "--generate-self-signed", "--load-privkey", "ca.key", template="ca", der=True)
    _certtool(folder, "csr.pem", "--generate-request", "--load-privkey", "leaf.key", template="csr")
    _certtool(folder, "ca.pem", "--certificate-info", "--infile", "ca.der", "--inder")
    issuer = ["--load-ca-certificate", "ca.pem", "--load-ca-privkey", "ca.key", "--load-privkey", "leaf.key"]
    _certtool(folder, "leaf.der", "--generate-certificate", *issuer, template="leaf", der=True)
    assert not (folder / "csr.pem").read_text().startswith("-----BEGIN")


def _certtool(folder: Path, out: str, *options: str, template: str | None = None, der: bool = False) -> None:
    more = ["--template", f"{template}.template"] if template else []
    encoders.run(folder, "certtool", *options, *more, *(["--outder"] if der else []), "--outfile", out)


def openssl(folder: Path) -> None:
    """Write by OpenSSL."""
    curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    for name in ("ca", "leaf"):
        encoders.run(folder, "openssl", "genpkey", *curve, "-out", f"{name}.key")
    _openssl(lambda *command: encoders.run(folder, "openssl", *command))


def with_tpm(chip: tpm.Tpm) -> None:
    """Write by OpenSSL with the keys of device and factory in a TPM."""
    chip.new_key("ca.key")
    chip.new_key("leaf.key")
    _openssl(lambda *command: chip.run("openssl", *command))


def _openssl(run: Callable[..., str]) -> None:
    """Make CA, CSR and leaf. AWS IoT's recipe for just-in-time registration makes an X.509 v1 leaf."""
    is_ca = ["-addext", "basicConstraints=critical,CA:TRUE"]
    run("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=Factory", *is_ca, "-out", "ca.pem")
    run("x509", "-in", "ca.pem", "-outform", "DER", "-out", "ca.der")
    run("req", "-new", "-key", "leaf.key", "-subj", "/CN=SN-1", "-out", "csr.pem")
    issuer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    run("x509", "-req", "-in", "csr.pem", *issuer, "-days", "500", "-outform", "DER", "-out", "leaf.der")


def judged(folder: Path) -> csr.VerifiedCsr:
    """Verify what is in the folder as the product does: the chain, the CSR, and that both are of one key."""
    leaf = certificate.parse((folder / "leaf.der").read_bytes())
    anchor = certificate.parse((folder / "ca.der").read_bytes())
    assert bootstrap.verify(leaf, [anchor], datetime.now(UTC)) == [leaf, anchor]
    text = folder / "csr.pem"
    found = csr.parse(text.read_text()) if text.exists() else csr.parse_der((folder / "csr.der").read_bytes())
    verified = csr.verify(found)
    assert verified.spki == leaf.spki_fingerprint()
    return verified


def has_null(folder: Path) -> bool:
    """Return whether the leaf's algorithm is ECDSA with the NULL that RFC 5758 does not want."""
    algorithm = certificate.parse((folder / "leaf.der").read_bytes()).algorithm
    return [each.tag for each in algorithm.children] == [der.OID, der.NULL]


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_a_library_s_output_is_accepted(
    library: Library, built: Callable[[Library], Path], tmp_path: Path
) -> None:
    """A CSR and a chain that a C library writes are accepted, with the key that the library made."""
    subprocess.run([built(library), tmp_path], env=library.environment(), check=True)
    judged(tmp_path)


def test_the_two_releases_of_mbed_tls_differ(built: Callable[[Library], Path], tmp_path: Path) -> None:
    """The old release writes NULL parameters beside ECDSA and the new one does not, so both are tested."""
    found = []
    for name in ("mbedtls-old", "mbedtls-new"):
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run([built(LIBRARIES[name]), folder], env=LIBRARIES[name].environment(), check=True)
        found.append(has_null(folder))
    assert found == [True, False]


@pytest.mark.parametrize("write", [gnutls, openssl])
def test_a_tool_s_output_is_accepted(write: Write, tmp_path: Path) -> None:
    """A CSR and a chain that a command-line tool writes are accepted."""
    write(tmp_path)
    judged(tmp_path)


def test_a_tpm_s_output_is_accepted(chip: tpm.Tpm) -> None:
    """A CSR and a chain whose keys are in a TPM are accepted, with NULL parameters beside ECDSA."""
    with_tpm(chip)
    judged(chip.folder)
    assert has_null(chip.folder)


@pytest.mark.parametrize("name", ["mbedtls-old", "mbedtls-new"])
def test_first_boot_by_mbed_tls(
    cloud: Cloud, built: Callable[[Library], Path], tmp_path: Path, name: str
) -> None:
    """A C program with Mbed TLS alone enrolls and logs in, with a bootstrap certificate of this library."""
    (case,) = (
        case for case in corpus.cases("chain") if str(case) == "mbedtls-p256" and case.folder == corpus.HERE
    )
    device, key = fresh_name(), factories.ec_key()
    files = remade.save(tmp_path, remade.leaf(case, device, key, cloud.factory), key)
    host = urlsplit(cloud.endpoints["mtls"])
    command = [built(LIBRARIES[name]), host.hostname, str(host.port), cloud.endpoints["api_ca"], *files]
    done = subprocess.run(
        command, env=LIBRARIES[name].environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert f'"deviceId":"{device}"' in done.stdout
    assert '"status":"active"' in done.stdout
    assert len(issued(cloud, device)) == 1


@pytest.mark.parametrize("named", ["", "tpm2:file="], ids=["file", "uri"])
@pytest.mark.parametrize("host", ["mtls", "public"])
def test_first_boot_with_a_tpm(cloud: Cloud, chip: tpm.Tpm, tmp_path: Path, host: str, named: str) -> None:
    """firstboot.sh enrolls and logs in with both keys in a TPM, whether a file or a URI names the first."""
    device = fresh_name()
    public: Any = load_pem_public_key(chip.new_key(f"{host}{len(named)}.key").encode())
    key: Any = SimpleNamespace(public_key=lambda: public)
    (tmp_path / "bootstrap.pem").write_text(factories.pem(cloud.factory.issue(device, key)))
    options = ["--public"] if host == "public" else []
    files = [
        tmp_path / "bootstrap.pem",
        f"{named}{chip.folder}/{host}{len(named)}.key",
        tmp_path / "state",
        cloud.endpoints["api_ca"],
    ]
    chip.run("sh", SCRIPT, *options, cloud.endpoints[host], *files)
    assert "TSS2 PRIVATE KEY" in (tmp_path / "state" / "device.key").read_text()
    assert len(issued(cloud, device)) == 1
