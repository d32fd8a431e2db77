"""The wheel firstboot-device: what it holds, and that it works without this checkout."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import device
from tests.device.server import running
from tests.wheels import ROOT, built, installed

CRYPTOGRAPHY = ("cryptography*", "cffi*", "_cffi_backend*", "pycparser*")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment that has the wheel and cryptography."""
    return installed(tmp_path_factory.mktemp("wheel"), *CRYPTOGRAPHY)


def run(commands: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in an empty folder."""
    return subprocess.run(
        [commands / "firstboot-device", *arguments],
        cwd=folder,
        env={"SSL_CERT_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_is_the_client_under_its_own_name(tmp_path: Path) -> None:
    """The wheel holds the modules of device/ and the licence, and names what it needs."""
    with zipfile.ZipFile(built(tmp_path)) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
        (licence,) = (archive.read(name) for name in names if name.endswith("/LICENSE"))
    found = Parser().parsestr(metadata)
    assert (found["Name"], found["Version"]) == ("firstboot-device", device.__version__)
    assert found.get_all("Requires-Dist") == [
        "cryptography>=42",
        "paho-mqtt<3,>=2.1; extra == 'mqtt'",
        "python-pkcs11<1,>=0.8; extra == 'pkcs11'",
        "tpm2-pytss<4,>=3; extra == 'tpm2'",
    ]
    assert licence == (ROOT / "LICENSE").read_bytes()
    modules = {name for name in names if name.endswith(".py")}
    assert modules == {f"firstboot_device/{path.name}" for path in (ROOT / "device").glob("*.py")}


def test_the_installed_command_boots_a_device(commands: Path, tmp_path: Path) -> None:
    """The command boots a device, and prints its status and credentials, without this checkout."""
    state = ["--state", str(tmp_path / "state")]
    with running(tmp_path) as service:
        bootstrap = service.bootstrap()
        files = ["--bootstrap-cert", str(bootstrap.certificate), "--bootstrap-key", str(bootstrap.key)]
        where = ["--mtls", service.url, "--ca", str(service.ca)]
        calls = (["boot", *where, *files], ["status"], ["credentials", "--role-alias", "telemetry"])
        done = [run(commands, tmp_path, *call, *state) for call in calls]
    assert [each.returncode for each in done] == [0, 0, 0], [each.stderr for each in done]
    assert json.loads(done[0].stdout)["status"] == "active"
    assert json.loads(done[2].stdout)["Version"] == 1


def test_the_installed_command_has_the_version(commands: Path, tmp_path: Path) -> None:
    """The version of the client is the version of the product."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert run(commands, tmp_path, "--version").stdout == f"firstboot-device {project['version']}\n"


def test_the_extra_that_mqtt_needs_can_be_installed(commands: Path, tmp_path: Path) -> None:
    """Without paho-mqtt the command names an extra that the wheel has."""
    files = ["--bootstrap-cert", "a.crt", "--bootstrap-key", "a.key", "--state", "state"]
    done = run(commands, tmp_path, "boot", "--mqtt", "localhost:8883", *files)
    assert done.returncode == 2
    assert "pip install 'firstboot-device[mqtt]'" in done.stderr


def test_the_module_can_be_run(commands: Path, tmp_path: Path) -> None:
    """The package firstboot_device can be run with `python -m`, and is the only package installed."""
    script = "import firstboot_device, importlib.util; print(importlib.util.find_spec('device'))"
    for arguments in (["-m", "firstboot_device", "--help"], ["-c", script]):
        command = [str(commands / "python"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(("usage: firstboot-device", "None"))
