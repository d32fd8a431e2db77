"""The operator's command line against the deployed stack, and its effects on devices."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pytest
from typer.testing import CliRunner

from console.__main__ import app
from local.processes import ROOT
from tests.flows.conftest import Cloud
from tests.flows.devices import Device

_FELT_SECONDS = 120


def console(cloud: Cloud, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m console` in the operator's environment, without a terminal."""
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


def printed(cloud: Cloud, *arguments: str) -> str:
    """Run the console in this process, and return what it printed. It must succeed."""
    environment = mock.patch.dict(os.environ, cloud.operator, clear=True)
    with environment, mock.patch.object(boto3, "DEFAULT_SESSION", None):
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def result(cloud: Cloud, *arguments: str) -> dict[str, Any]:
    """Run the console with --json, and return the members that it printed. It must succeed."""
    found: dict[str, Any] = json.loads(
        printed(cloud, *arguments, "--stack", cloud.endpoints["stack"], "--json")
    )
    return found


def refused(device: Device, command: str, *arguments: str) -> str | None:
    """Run a device's command, and return the code that it is refused with, or None."""
    done = device.run(command, "--state", str(device.state), *arguments)
    return None if done.returncode == 0 else str(json.loads(done.stderr)["code"])


@pytest.fixture
def device(cloud: Cloud, tmp_path: Path, request: pytest.FixtureRequest) -> Device:
    """A device that has booted, named after its test."""
    device = Device(cloud, request.node.name.replace("_", "-")[:60], tmp_path)
    device.boot()
    return device


@pytest.fixture
def folder(cloud: Cloud, tmp_path: Path) -> Iterator[Path]:
    """A copy of the deployed fleet folder. After the test the original is published again."""
    original = Path(cloud.endpoints["api_ca"]).parent / "fleet"
    yield Path(shutil.copytree(original, tmp_path / "fleet"))
    result(cloud, "fleet", "apply", str(original))


def felt(condition: Callable[[], Any]) -> None:
    """Wait until a change has its effect."""
    deadline = time.monotonic() + _FELT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the change has no effect"
        time.sleep(0.3)


def test_a_device_is_listed_and_shown(cloud: Cloud, device: Device) -> None:
    """The console shows the device records of the deployed stack."""
    listed = result(cloud, "devices", "list")["devices"]
    (found,) = [each for each in listed if each["deviceId"] == device.name]
    assert found == result(cloud, "devices", "show", device.name)
    assert found["active"]
    assert device.name in printed(cloud, "devices", "list")


def test_an_attribute_opens_a_grant(cloud: Cloud, device: Device) -> None:
    """An attribute that `set` changes gives the device a grant, and `explain` names the rule."""
    credentials = ("credentials", "--role-alias", "updates")
    explain = ("devices", "explain", device.name, "--context", "roleAlias=updates")
    assert refused(device, *credentials)
    assert result(cloud, *explain)["moments"][0]["refusal"]["code"] == "no-grant"
    result(cloud, "devices", "set", device.name, "channel=stable")
    assert result(cloud, *explain)["moments"][0]["grants"] == [
        {"grant": "firmware", "rules": ["stable-firmware"]}
    ]
    assert refused(device, *credentials) is None
    assert "by stable-firmware" in printed(cloud, *explain)


def test_a_published_rule_is_felt(cloud: Cloud, device: Device, folder: Path) -> None:
    """A published rule withholds a grant within seconds, and its removal gives the grant back."""
    credentials = ("credentials", "--role-alias", "telemetry")
    assert refused(device, *credentials) is None
    rules = folder / "rules.cedar"
    permitted = rules.read_text()
    rules.write_text(f'{permitted}\n@id("none") forbid (principal, action, resource);\n')
    assert result(cloud, "fleet", "check", str(folder))["valid"]
    difference = printed(cloud, "fleet", "diff", str(folder))
    assert '+@id("none") forbid' in difference
    result(cloud, "fleet", "apply", str(folder))
    felt(lambda: refused(device, *credentials))
    rules.write_text(permitted)
    result(cloud, "fleet", "apply", str(folder))
    felt(lambda: refused(device, *credentials) is None)


def test_a_revoked_device_is_refused_from_the_next_call_on(cloud: Cloud, device: Device) -> None:
    """Without a terminal `revoke` asks no question, and the next call of the device is refused."""
    assert refused(device, "status") is None
    assert result(cloud, "devices", "revoke", device.name)["status"] == "revoked"
    assert refused(device, "status") == "device-revoked"
    assert refused(device, "credentials", "--role-alias", "telemetry")


def test_a_refusal_is_exit_code_1(cloud: Cloud) -> None:
    """A refusal of `operate` is exit code 1, and its code is printed."""
    done = console(cloud, "devices", "show", "gw-unknown", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert json.loads(done.stderr)["code"] == "device-not-found"


def test_a_missing_stack_is_exit_code_3(cloud: Cloud) -> None:
    """A stack that does not exist is exit code 3."""
    done = console(cloud, "devices", "list", "--stack", "Nowhere")
    assert (done.returncode, done.stdout) == (3, "")
