"""The reference device and the script on the public host, by signed proofs, against the deployed product."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from local.processes import ROOT
from tests.device import crash
from tests.flows.conftest import Cloud
from tests.flows.devices import Device, fresh_name, issued, printed

SCRIPT = ROOT / "device" / "firstboot.sh"


@pytest.fixture
def device(cloud: Cloud, tmp_path: Path) -> Device:
    """A device of the public host that has not booted yet."""
    return Device(cloud, fresh_name(), tmp_path, "public")


def test_first_boot_record_credentials_renewal(device: Device) -> None:
    """First boot, record, credentials and renewal work without a TLS client certificate."""
    first = device.boot()
    assert (first["deviceId"], first["status"]) == (device.name, "active")
    assert device.status()["certificateId"] == first["certificateId"]
    assert printed(device.run(*device.credentials_arguments("telemetry")))["Version"] == 1
    renewed = printed(device.run("renew", "--state", str(device.state)))
    assert device.status()["certificateId"] == renewed["certificateId"] != first["certificateId"]
    assert len(issued(device.cloud, device.name)) == 2


def test_a_renewed_device_is_known_on_the_other_host_too(cloud: Cloud, device: Device) -> None:
    """An identity that was renewed on the public host can log in on the mTLS host."""
    device.boot()
    printed(device.run("renew", "--state", str(device.state)))
    over_tls = Device(cloud, device.name, device.folder)
    assert over_tls.boot()["certificateId"] == device.status()["certificateId"]


def test_a_key_that_can_t_change_gets_its_certificate_again(device: Device) -> None:
    """A renewal for the same key before it is due gives the same certificate."""
    first = device.boot()
    again = printed(device.run("renew", "--same-key", "--state", str(device.state)))
    assert again["certificateId"] == first["certificateId"]
    assert len(issued(device.cloud, device.name)) == 1


def test_renewal_killed_at_every_request_is_carried_on(cloud: Cloud, tmp_path: Path) -> None:
    """The service issues one more certificate to a device that is killed at any request of a renewal."""
    point, code = 0, crash.DIED
    while code == crash.DIED:
        point += 1
        device = Device(cloud, fresh_name(), tmp_path / str(point), "public")
        assert crash.run(device.boot_arguments()) == 0
        renew = ["renew", "--state", str(device.state)]
        code = crash.run(renew, point=point, only={"request", "read"})
        done = len(issued(cloud, device.name)) == 2 and not (device.state / "next.private").exists()
        assert done or crash.run(renew) == 0, f"after dying at {point}"
        assert len(issued(cloud, device.name)) == 2, f"after dying at {point}"
        assert crash.run(["status", "--state", str(device.state)]) == 0, f"after dying at {point}"
    assert code == 0


def test_first_boot_with_curl_and_openssl(device: Device) -> None:
    """The shell script boots a device with signed proofs, and logs in when it is run again."""
    certificate, key = device.cloud.bootstrap(device.name, device.folder)
    files = [certificate, key, device.state, device.cloud.endpoints["api_ca"]]
    command = ["sh", SCRIPT, "--public", device.cloud.endpoints["public"], *files]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
    assert len(issued(device.cloud, device.name)) == 1
