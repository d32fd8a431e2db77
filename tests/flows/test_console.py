"""The operator's command line against the deployed stack, and what devices feel of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.processes import ROOT
from tests.flows.conftest import Cloud

_FELT_SECONDS = 30


def console(cloud: Cloud, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m console` in an operator's environment; standard input is no terminal."""
    command = [sys.executable, "-m", "console", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=cloud.operator,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def result(cloud: Cloud, *arguments: str) -> dict[str, Any]:
    """What the console prints for programs; it must have worked."""
    done = console(cloud, *arguments, "--stack", cloud.endpoints["stack"], "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Device:
    """The reference device, with an identity of its own."""

    def __init__(self, cloud: Cloud, name: str, folder: Path) -> None:
        certificate, key = cloud.bootstrap(name, folder / "factory")
        self.name, self._state = name, str(folder / "state")
        done = self._run(
            "boot", "--mtls", cloud.endpoints["mtls"], "--ca", cloud.endpoints["api_ca"],
            "--bootstrap-cert", str(certificate), "--bootstrap-key", str(key),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def refused(self, *command: str) -> str | None:
        """The code a command is refused with, if it is."""
        done = self._run(*command)
        return None if done.returncode == 0 else str(json.loads(done.stderr)["code"])

    def _run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        whole = [sys.executable, "-m", "device", command, "--state", self._state, *arguments]
        return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def device(cloud: Cloud, tmp_path: Path, request: pytest.FixtureRequest) -> Device:
    """A device that has booted, named for its test."""
    return Device(cloud, request.node.name.replace("_", "-")[:60], tmp_path)


@pytest.fixture
def folder(cloud: Cloud, tmp_path: Path) -> Iterator[Path]:
    """A copy of the deployed fleet folder; the original is in force again afterwards."""
    original = Path(cloud.endpoints["api_ca"]).parent / "fleet"
    yield Path(shutil.copytree(original, tmp_path / "fleet"))
    result(cloud, "fleet", "apply", str(original))


def felt(condition: Callable[[], Any]) -> None:
    """Wait until a change is felt."""
    deadline = time.monotonic() + _FELT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the change is not felt"
        time.sleep(0.3)


def test_a_device_is_listed_and_shown(cloud: Cloud, device: Device) -> None:
    """The console shows the device records of the deployed stack."""
    listed = result(cloud, "devices", "list")["devices"]
    (found,) = [each for each in listed if each["deviceId"] == device.name]
    assert found == result(cloud, "devices", "show", device.name)
    assert found["active"]
    assert device.name in console(cloud, "devices", "list").stdout


def test_an_attribute_opens_a_grant(cloud: Cloud, device: Device) -> None:
    """`set` is felt by the device, and `explain` names the rule."""
    credentials = ("credentials", "--role-alias", "updates")
    explain = ("devices", "explain", device.name, "--context", "roleAlias=updates")
    assert device.refused(*credentials)
    assert result(cloud, *explain)["moments"][0]["refusal"]["code"] == "no-grant"
    result(cloud, "devices", "set", device.name, "channel=stable")
    assert result(cloud, *explain)["moments"][0]["grants"] == [
        {"grant": "firmware", "rules": ["stable-firmware"]}
    ]
    assert device.refused(*credentials) is None
    assert "by stable-firmware" in console(cloud, *explain).stdout


def test_a_published_rule_is_felt(cloud: Cloud, device: Device, folder: Path) -> None:
    """A rule taken out of the folder is gone for the device within seconds of `apply`, and back after it."""
    credentials = ("credentials", "--role-alias", "telemetry")
    assert device.refused(*credentials) is None
    rules = folder / "rules.cedar"
    permitted = rules.read_text()
    rules.write_text(f'{permitted}\n@id("none") forbid (principal, action, resource);\n')
    assert result(cloud, "fleet", "check", str(folder))["valid"]
    difference = console(cloud, "fleet", "diff", str(folder)).stdout
    assert '+@id("none") forbid' in difference
    result(cloud, "fleet", "apply", str(folder))
    felt(lambda: device.refused(*credentials))
    rules.write_text(permitted)
    result(cloud, "fleet", "apply", str(folder))
    felt(lambda: device.refused(*credentials) is None)


def test_a_revoked_device_is_refused_from_the_next_call_on(cloud: Cloud, device: Device) -> None:
    """A script revokes without being asked, and the very next call of the device is refused."""
    assert device.refused("status") is None
    assert result(cloud, "devices", "revoke", device.name)["status"] == "revoked"
    assert device.refused("status") == "device-revoked"
    assert device.refused("credentials", "--role-alias", "telemetry")


def test_a_refusal_is_exit_code_1(cloud: Cloud) -> None:
    """What `operate` refuses comes back with its code."""
    done = console(cloud, "devices", "show", "nobody-here", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert json.loads(done.stderr)["code"] == "device-not-found"


def test_a_missing_stack_is_exit_code_3(cloud: Cloud) -> None:
    """No such stack is neither done nor refused."""
    done = console(cloud, "devices", "list", "--stack", "Nowhere")
    assert (done.returncode, done.stdout) == (3, "")
