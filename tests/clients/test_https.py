"""Test the answers over HTTPS with curl. test_scenarios.py has the clients that depend on them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.flows.conftest import Cloud
from tests.flows.devices import Device, fresh_name


@pytest.fixture(scope="module")
def device(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """Return a device that has booted."""
    device = Device(cloud, fresh_name(), tmp_path_factory.mktemp("device"))
    device.boot()
    return device


def curl(device: Device, path: str, *options: str) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and JSON of a GET with the device's identity."""
    certificate, key = map(str, device.identity)
    authority = device.cloud.endpoints["api_ca"]
    command = ["curl", "--silent", "--show-error", "--include", "--http1.1", "--cacert", authority]
    url = device.cloud.endpoints["mtls"] + path
    done = subprocess.run(
        [*command, "--cert", certificate, "--key", key, *options, url], capture_output=True, check=True
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers, json.loads(body)


def test_the_credential_provider_s_wire_format(device: Device) -> None:
    """Credentials have AWS IoT's member names, times with `Z` and at most 2,048 bytes, with and without a
    thing name.
    """
    for options in ([], ["--header", f"x-amzn-iot-thingname: {device.name}"]):
        status, headers, body = curl(device, "/role-aliases/telemetry/credentials", *options)
        assert (status, headers["content-type"]) == (200, "application/json")
        assert set(body) == {"credentials"}
        assert set(body["credentials"]) == {"accessKeyId", "secretAccessKey", "sessionToken", "expiration"}
        assert body["credentials"]["expiration"].endswith("Z")
        assert int(headers["content-length"]) <= 2048


@pytest.mark.parametrize(
    ("path", "thing", "status", "kind", "message"),
    [
        ("nope", None, 404, "ResourceNotFoundException", "Role alias does not exist"),
        ("telemetry", "gw-another", 403, "AccessDeniedException", "Invalid thing name passed"),
        ("updates", None, 403, "AccessDeniedException", "Access Denied"),
    ],
)
def test_the_credential_provider_s_errors(
    device: Device, path: str, thing: str | None, status: int, kind: str, message: str
) -> None:
    """Errors have AWS IoT's messages and headers, which its clients log."""
    options = ["--header", f"x-amzn-iot-thingname: {thing}"] if thing else []
    answer, headers, body = curl(device, f"/role-aliases/{path}/credentials", *options)
    assert (answer, headers["x-amzn-errortype"], body) == (status, kind, {"message": message})
    assert headers["x-amzn-requestid"]
