"""The clients of `make demo-clients`: each from a new device to an identity or credentials that work.

To add a client, write a function that is called with the cloud and an empty folder, checks everything and
returns in words what the client got. Then add its line to SCENARIOS, or to those of ways.py for a way that a
group turns on. tests/clients/test_scenarios.py runs every scenario too. A client that not every machine has
is imported in its function.
"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import boto3

from local.processes import ROOT
from tests.clients import aws, ways
from tests.clients.demo import Scenario
from tests.clients.mqtt import CLIENTS, first_boot, mosquitto_rr
from tests.clients.ways import credentials
from tests.flows.conftest import Cloud
from tests.flows.devices import Device, fresh_name, issued
from tests.flows.mqtt import Ask

SCRIPT = ROOT / "device" / "firstboot.sh"


def by_script(cloud: Cloud, folder: Path, host: str) -> Device:
    """Boot a new device with firstboot.sh, which has only curl and openssl, and run it once more.

    The second run logs in with the identity of the first.
    """
    device = Device(cloud, fresh_name(), folder)
    certificate, key = cloud.bootstrap(device.name, folder)
    where = ["--public"] if host == "public" else []
    files = [certificate, key, device.state, cloud.endpoints["api_ca"]]
    command = ["sh", SCRIPT, *where, cloud.endpoints[host], *files]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    identity = device.identity[0].read_bytes()
    subprocess.run(command, capture_output=True, check=True)
    assert device.identity[0].read_bytes() == identity
    assert len(issued(cloud, device.name)) == 1
    return device


def script(cloud: Cloud, folder: Path, host: str) -> str:
    """Get an identity with curl and openssl."""
    device = by_script(cloud, folder, host)
    return f"an identity for {device.name}, and a login with it"


def credential_provider(cloud: Cloud, folder: Path) -> str:
    """Get credentials with the client of AWS IoT's credential provider in AWS's SDKs."""
    device = by_script(cloud, folder, "mtls")
    return credentials(cloud, device.name, aws.provider_credentials(device))


def credential_process(cloud: Cloud, folder: Path) -> str:
    """Get credentials with boto3, which runs the reference client as `credential_process`."""
    device = Device(cloud, fresh_name(), folder)
    device.boot()
    return credentials(cloud, device.name, aws.process_credentials(device))


def mqtt(cloud: Cloud, folder: Path, ask: Ask) -> str:
    """Get an identity and credentials over MQTT with the client `ask`."""
    name, vended = first_boot(cloud, folder, ask)
    found = vended["credentials"]
    keys = [found[member] for member in ("accessKeyId", "secretAccessKey", "sessionToken")]
    return f"an identity, and {credentials(cloud, name, boto3.Session(*keys))}"


_SCRIPT_PROGRAMS = ("curl", "openssl")

SCENARIOS = {
    "curl and openssl (firstboot.sh), mTLS": Scenario(partial(script, host="mtls"), _SCRIPT_PROGRAMS),
    "curl and openssl (firstboot.sh), signed proof": Scenario(
        partial(script, host="public"), _SCRIPT_PROGRAMS
    ),
    "awscrt, AWS IoT's credential provider": Scenario(credential_provider, _SCRIPT_PROGRAMS),
    "boto3, credential_process": Scenario(credential_process),
    **{
        f"{name}, MQTT": Scenario(partial(mqtt, ask=ask), ("mosquitto_rr",) if ask is mosquitto_rr else ())
        for name, ask in CLIENTS.items()
    },
    **ways.SCENARIOS,
}
"""The scenarios by the words that begin their line."""
