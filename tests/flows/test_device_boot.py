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
    """A device out of the box."""
    return Device(cloud, fresh_name(), tmp_path)


def test_first_boot_log_in_record(device: Device) -> None:
    """One certificate, under the operational CA, active, and the record says so."""
    answer = device.boot()
    assert (answer["deviceId"], answer["status"]) == (device.name, "active")
    assert len(issued(device.cloud, device.name)) == 1
    ca = Path(device.cloud.endpoints["operational_ca"]).read_bytes()
    device.leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
    assert device.status()["certificateId"] == answer["certificateId"]


def test_a_repeated_boot_is_no_enrollment(device: Device) -> None:
    """The same answer, the same certificate, nothing issued."""
    first = device.boot()
    before = device.leaf
    again = device.boot()
    assert first | {"time": again["time"]} == again
    assert device.leaf == before
    assert len(issued(device.cloud, device.name)) == 1


def test_inline_delivery(device: Device) -> None:
    """The certificate in the answer is as good as the one from S3."""
    device.boot("--inline")
    assert device.status()["deviceId"] == device.name


def test_a_wiped_device_replaces_its_identity(device: Device, tmp_path: Path) -> None:
    """A gateway comes back from a factory reset; the old certificate is nobody's from its first log-in on."""
    device.boot()
    done = device.run(*device.boot_arguments(tmp_path / "reset"))
    assert done.returncode == 0, done.stderr
    refused = device.run("status", "--state", str(device.state))
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (13, "certificate-not-current")
    device.boot()  # the old state heals itself, at the reset one's cost
    assert device.run("status", "--state", str(tmp_path / "reset")).returncode == 13


def test_another_name_than_the_certificate_s_is_refused(device: Device) -> None:
    """A per-device certificate enrolls its own device."""
    done = device.run(*device.boot_arguments(), "--device-id", fresh_name())
    assert (done.returncode, json.loads(done.stderr)["code"]) == (STOP, "device-id-mismatch")
    assert not recorded(device.cloud, device.name)


def test_a_revoked_device_is_told_to_stop(device: Device, tmp_path: Path) -> None:
    """On every command, and with a fresh state too: revocation is for good."""
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
    """The rules may change; a person at the device changes nothing."""
    device.boot()
    assert device.run(*device.credentials_arguments("updates")).returncode == WAIT


def test_killed_at_every_request_it_carries_on(cloud: Cloud, tmp_path: Path) -> None:
    """The service has issued one certificate, committed once, whenever the device died."""
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
