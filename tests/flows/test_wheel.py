"""The wheel firstboot-device, installed into an environment of its own, against the deployed product."""

from __future__ import annotations

import json
from pathlib import Path

from tests.flows.conftest import Cloud
from tests.flows.devices import Device, fresh_name
from tests.process.test_wheel import CRYPTOGRAPHY, run
from tests.wheels import installed


def test_the_installed_client_boots_a_device(cloud: Cloud, tmp_path: Path) -> None:
    """A device that has only the wheel and cryptography boots and gets credentials."""
    commands = installed(tmp_path / "wheel", *CRYPTOGRAPHY)
    device = Device(cloud, fresh_name(), tmp_path)
    printed = []
    for arguments in (device.boot_arguments(), device.credentials_arguments("telemetry")):
        done = run(commands, tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
        printed.append(json.loads(done.stdout))
    assert (printed[0]["deviceId"], printed[0]["status"]) == (device.name, "active")
    assert printed[1]["Version"] == 1
