"""The reference device against the deployed product, over real TLS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509

from tests.device import crash
from tests.flows.conftest import Cloud
from tests.flows.devices import Device, fresh_name, issued, recorded, revoke

STOP, WAIT = 12, 11


@pytest.fixture
def device(cloud: Cloud, tmp_path: Path) -> Device:
    """A device that has not booted yet."""
    return Device(cloud, fresh_name(), tmp_path)


def test_first_boot_log_in_record(device: Device) -> None:
    """A first boot gives one certificate under the issuing CA, which the record has as active."""
    answer = device.boot()
    assert (answer["deviceId"], answer["status"]) == (device.name, "active")
    assert len(issued(device.cloud, device.name)) == 1
    ca = Path(device.cloud.endpoints["operational_ca"]).read_bytes()
    device.leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
    assert device.status()["certificateId"] == answer["certificateId"]


def test_a_repeated_boot_is_no_enrollment(device: Device) -> None:
    """A repeated boot gives the same answer and issues no certificate."""
    first = device.boot()
    before = device.leaf
    again = device.boot()
    assert first | {"time": again["time"]} == again
    assert device.leaf == before
    assert len(issued(device.cloud, device.name)) == 1


def test_inline_delivery(device: Device) -> None:
    """A device that gets its certificate in the answer can log in."""
    device.boot("--inline")
    assert device.status()["deviceId"] == device.name


def test_a_wiped_device_replaces_its_identity(device: Device, tmp_path: Path) -> None:
    """After a factory reset a device enrolls again, and its old certificate is refused from then on."""
    device.boot()
    done = device.run(*device.boot_arguments(tmp_path / "reset"))
    assert done.returncode == 0, done.stderr
    refused = device.run("status", "--state", str(device.state))
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (13, "certificate-not-current")
    device.boot()  # the old state enrolls again, which supersedes the reset one
    assert device.run("status", "--state", str(tmp_path / "reset")).returncode == 13


def test_another_name_than_the_certificate_s_is_refused(device: Device) -> None:
    """A per-device bootstrap certificate can't enroll a device of another name."""
    done = device.run(*device.boot_arguments(), "--device-id", fresh_name())
    assert (done.returncode, json.loads(done.stderr)["code"]) == (STOP, "device-id-mismatch")
    assert not recorded(device.cloud, device.name)


def test_a_revoked_device_must_stop(device: Device, tmp_path: Path) -> None:
    """Every command of a revoked device ends with `stop`, also with a new state."""
    device.boot()
    revoke(device.cloud, device.name)
    commands = [
        device.boot_arguments(),
        device.boot_arguments(tmp_path / "reset"),
        ["status", "--state", str(device.state)],
        device.credentials_arguments("telemetry"),
    ]
    for command in commands:
        done = device.run(*command)
        assert (done.returncode, json.loads(done.stderr)["code"]) == (STOP, "device-revoked"), command
    assert len(issued(device.cloud, device.name)) == 1


def test_no_grant_now_is_worth_another_try_later(device: Device) -> None:
    """A device that holds no grant gets the action `wait`, because the rules may change."""
    device.boot()
    assert device.run(*device.credentials_arguments("updates")).returncode == WAIT


def test_killed_at_every_request_it_carries_on(cloud: Cloud, tmp_path: Path) -> None:
    """The service issues one certificate to a device that is killed at any request and boots again."""
    point, code = 0, crash.DIED
    while code == crash.DIED:
        point += 1
        device = Device(cloud, fresh_name(), tmp_path / str(point))
        code = crash.run(device.boot_arguments(), point=point, only={"request", "read"})
        assert crash.run(device.boot_arguments()) == 0, f"after dying at {point}"
        assert len(issued(cloud, device.name)) == 1, f"after dying at {point}"
        assert crash.run(["status", "--state", str(device.state)]) == 0, f"after dying at {point}"
    assert code == 0
    assert point == 3 * 2 * 2 + 1
