"""Devices whose keys are in a SoftHSM2 token or in a software TPM: the client, and firstboot.sh."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests import factories
from tests.clients import encoders, hsm, tpm
from tests.clients.hsm import PIN, Token
from tests.device import crash
from tests.device.server import running
from tests.device.service import CHAIN, COMMIT, ENROLL, Service

SCRIPT = Path(__file__).parents[2] / "device" / "firstboot.sh"
# The operations on the disk and the service are those of a file's key (tests/device/test_crash.py).
HARDWARE = {"generate", "destroy"}
STATE = {"certificate.pem", "device.reference", "made.json", "origin.json", "service.json"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all devices."""
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def token(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> Token:
    """Give a token with a bootstrap key, and its certificate in bootstrap.pem."""
    service.forget()
    token = hsm.new(tmp_path / "token")
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    bootstrap_certificate(service, token.make("bootstrap"), tmp_path)
    return token


@pytest.fixture
def chip(tmp_path: Path) -> Iterator[tpm.Tpm]:
    """Give a TPM."""
    with tpm.running(tmp_path / "tpm") as chip:
        yield chip


def bootstrap_certificate(service: Service, public: Any, folder: Path) -> None:
    """Write the certificate of a bootstrap key."""
    key: Any = SimpleNamespace(public_key=lambda: public)
    (folder / "bootstrap.pem").write_text(factories.pem(service.factory.issue("dev1", key)))


def boot(service: Service, token: Token, state: Path, host: str = "public", **query: str) -> list[str]:
    """Return the command line of a boot with all keys in the token."""
    certificate, where = token.folder.parent / "bootstrap.pem", [f"--{host}", service.url]
    keys = ["--bootstrap-key", token.uri("bootstrap", **query), "--key", token.uri("operational", **query)]
    files = ["--bootstrap-cert", str(certificate), "--ca", str(service.ca), "--state", str(state)]
    return ["boot", *where, *files, *keys]


def reference(state: Path) -> dict[str, str]:
    """Return the content of the live reference."""
    found: dict[str, str] = json.loads((state / "device.reference").read_text())
    return found


def test_a_device_with_a_token_boots_and_renews_over_the_public_host(
    service: Service, token: Token, tmp_path: Path
) -> None:
    """With both keys in a token a device enrolls and renews by signed proofs, and no key is in a file."""
    state = tmp_path / "state"
    done = hsm.client(*boot(service, token, state), extra=token.environment)
    assert done.returncode == 0, done.stderr
    first = reference(state)["uri"]
    done = hsm.client("renew", "--state", state, extra=token.environment)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in state.iterdir()} == STATE
    assert service.committed == service.issued
    assert len(service.issued) == 2
    assert reference(state)["uri"] != first
    (kept,) = token.private_keys("operational")
    assert reference(state)["uri"].endswith(kept["id"])
    assert (kept["extractable"], kept["sensitive"]) == (False, True)
    done = hsm.client("renew", "--same-key", "--state", state, extra=token.environment)
    assert done.returncode == 0, done.stderr
    assert token.private_keys("operational") == [kept]


def test_a_device_with_a_token_boots_over_the_mtls_host(
    service: Service, token: Token, tmp_path: Path
) -> None:
    """A device enrolls and renews with keys in a token by TLS with pkcs11-provider; an error says if it is
    missing.
    """
    done = hsm.client(*boot(service, token, tmp_path / "state", "mtls"), extra=token.environment)
    assert done.returncode == 12
    assert "OPENSSL_CONF must activate its provider" in done.stderr
    for command in (
        boot(service, token, tmp_path / "state", "mtls"),
        ["renew", "--state", tmp_path / "state"],
    ):
        done = hsm.client(*command, extra=token.provider())
        assert done.returncode == 0, done.stderr
    assert len(service.issued) == len(service.committed) == 2


def test_a_boot_with_a_token_killed_around_its_key_ends_with_one_certificate_and_key(
    service: Service, token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash before or after a key is made, one more run leaves one certificate and one key."""
    from device import token_keys  # noqa: PLC0415 - of an extra

    points = [*crash._OPERATIONS, (token_keys, "generate"), (token_keys, "destroy")]
    monkeypatch.setattr(crash, "_OPERATIONS", points)
    point, code = 0, crash.DIED
    while code == crash.DIED:
        point += 1
        service.forget()
        state = tmp_path / str(point)
        command = boot(service, token, state)
        code = crash._run_here(command, point, HARDWARE)  # a process that is killed does not know the patch
        assert crash.run(command) == 0, f"after dying at {point}"
        assert {path.name for path in state.iterdir()} == STATE, f"after dying at {point}"
        assert len(service.issued) == 1, f"after dying at {point}"
        assert crash.run(["renew", "--state", str(state)]) == 0
        (kept,) = token.private_keys("operational")
        assert reference(state)["uri"].endswith(kept["id"]), f"after dying at {point}"
        token.destroy(kept["id"])
    assert code == 0
    assert point > 2


def test_a_renewal_with_a_token_killed_around_its_keys_is_carried_on(
    service: Service, token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash before or after a key is made or destroyed, one more run ends the renewal."""
    from device import token_keys  # noqa: PLC0415 - of an extra

    points = [*crash._OPERATIONS, (token_keys, "generate"), (token_keys, "destroy")]
    monkeypatch.setattr(crash, "_OPERATIONS", points)
    assert crash.run(boot(service, token, tmp_path / "before")) == 0
    shutil.copytree(token.folder / "tokens", tmp_path / "tokens")
    first = service.issued[0]
    point, code = 0, crash.DIED
    while code == crash.DIED:
        point += 1
        service.forget()
        service.issued.append(first)
        service.committed.append(first)
        service.due.add(first.serial_number)
        state = tmp_path / str(point)
        shutil.copytree(tmp_path / "before", state)
        command = boot(service, token, state)
        code = crash._run_here(command, point, HARDWARE)  # a process that is killed does not know the patch
        assert crash.run(command) == 0, f"after dying at {point}"
        assert {path.name for path in state.iterdir()} == STATE, f"after dying at {point}"
        assert service.issued[-1] == service.committed[-1]
        assert len(service.issued) == 2, f"after dying at {point}"
        assert crash.run(["status", "--state", str(state)]) == 0
        token.restore(tmp_path / "tokens")
    assert code == 0
    assert point > 4


def test_a_wrong_token_or_pin_stops_the_device(service: Service, token: Token, tmp_path: Path) -> None:
    """A wrong PIN, another token's name and a missing key end with exit code 12, and no text has the PIN."""
    (tmp_path / "wrong").write_text("another PIN")
    right = boot(service, token, tmp_path / "state", **{"pin-value": PIN.replace(" ", "%20")})
    for old, new, said in (
        ("pin-value=the%20PIN", "pin-value=no%20PIN", "PinIncorrect"),
        ("token=test", "token=another", "0 tokens"),
        ("object=bootstrap", "object=another", "NoSuchKey"),
    ):
        command = [each.replace(old, new) for each in right]
        done = hsm.client(*command, extra=token.environment)
        assert done.returncode == 12, done.stderr
        assert said in done.stderr
        assert "text%20shows" not in done.stderr
        assert "text shows" not in done.stderr
    assert hsm.client(*right, extra=token.environment).returncode == 0
    assert "PIN" not in (tmp_path / "state" / "device.reference").read_text()


def test_another_key_by_the_name_is_found_out(service: Service, token: Token, tmp_path: Path) -> None:
    """A token whose key is not the bootstrap certificate's stops the device before a proof is sent."""
    bootstrap_certificate(service, factories.ec_key().public_key(), tmp_path)
    done = hsm.client(*boot(service, token, tmp_path / "state"), extra=token.environment)
    assert done.returncode == 12
    assert "is not the key of the certificate" in done.stderr
    assert ENROLL not in service.requests[-1:]


def run_script(
    service: Service, key: str | Path, state: Path, options: list[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run firstboot.sh with a bootstrap key."""
    files: list[str | Path] = [service.url, state.parent / "bootstrap.pem", key, state, service.ca]
    command: list[str | Path] = ["sh", SCRIPT, *options, *files]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("options", [["--public"], []], ids=["public", "mtls"])
@pytest.mark.parametrize("by", ["provider", "engine"])
def test_the_script_takes_a_pkcs11_uri(
    service: Service, token: Token, tmp_path: Path, by: str, options: list[str]
) -> None:
    """firstboot.sh enrolls with a bootstrap key in a token, by pkcs11-provider or by OpenSSL's engine."""
    environment = {**os.environ, **encoders.environment(), **token.environment}
    if by == "provider":
        environment |= token.provider()
    else:
        (engines,) = encoders.UNPACKED.glob("usr/lib/*/engines-3")
        environment["OPENSSL_ENGINES"] = str(engines)
    service.requests.clear()
    done = run_script(service, token.uri("bootstrap"), tmp_path / "state", options, environment)
    assert done.returncode == 0, done.stderr
    assert [ENROLL, f"{CHAIN}/0", COMMIT] == service.requests
    assert PIN not in done.stderr + done.stdout


def test_a_device_with_a_tpm_boots_and_renews_over_the_public_host(
    service: Service, chip: tpm.Tpm, tmp_path: Path
) -> None:
    """With both keys in a TPM a device enrolls and renews by signed proofs, and no key is in a file.

    The mTLS host is refused with a reason.
    """
    service.forget()
    public = load_pem_public_key(chip.new_key("bootstrap.key").encode())
    bootstrap_certificate(service, public, tmp_path)
    where = "?tcti=tabrmd:bus_type=session"
    keys = ["--bootstrap-key", f"tpm2:file={chip.folder}/bootstrap.key{where}", "--key", f"tpm2:{where}"]
    files: list[str | Path] = [
        "--bootstrap-cert",
        tmp_path / "bootstrap.pem",
        "--ca",
        service.ca,
        "--state",
        tmp_path / "state",
    ]
    chip.client("boot", "--public", service.url, *files, *keys)
    first = reference(tmp_path / "state")["public"]
    chip.client("renew", "--state", tmp_path / "state")
    assert {path.name for path in (tmp_path / "state").iterdir()} == STATE
    assert reference(tmp_path / "state")["public"] != first
    assert len(service.issued) == len(service.committed) == 2
    files[-1] = tmp_path / "second"
    with pytest.raises(AssertionError, match="can't be used for TLS here"):
        chip.client("boot", "--mtls", service.url, *files, *keys)


def test_without_the_extra_the_client_says_which_one(service: Service, token: Token, tmp_path: Path) -> None:
    """Without python-pkcs11 the client ends with exit code 2 and the name of the extra."""
    with mock.patch.object(hsm, "PACKAGES", tmp_path / "none"):
        done = hsm.client(*boot(service, token, tmp_path / "state"), extra=token.environment)
    assert done.returncode == 2
    assert "firstboot-device[pkcs11]" in done.stderr
