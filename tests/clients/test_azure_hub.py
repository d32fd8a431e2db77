"""Microsoft's own device client takes a shared access signature of the product for a device's at its hub."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.aws.conftest import aws, bucket, ca_key, issuing_ca, product, table
from tests.aws.product import Product
from tests.aws.test_hub_signatures import HUB, KEYS, ask, signing

__all__ = ["aws", "bucket", "ca_key", "issuing_ca", "product", "signing", "table"]  # fixtures

PYTHON = Path(__file__).parents[2] / ".venv/azure/bin/python"
"""The interpreter with azure-iot-device, which `make test-clients` installs."""

# The client makes no connection before `connect`. The signing mechanism is that with which the client signs
# by itself if it has a key.
PROGRAM = """
import json, sys
from azure.iot.device import IoTHubDeviceClient
from azure.iot.device.common.auth.sastoken import NonRenewableSasToken, get_sastoken_info_from_string
from azure.iot.device.common.auth.signing_mechanism import SymmetricKeySigningMechanism
from urllib.parse import unquote

token, key = json.load(sys.stdin)
client = IoTHubDeviceClient.create_from_sastoken(token)
configuration = client._mqtt_pipeline._nucleus.pipeline_configuration
info, parsed = get_sastoken_info_from_string(token), NonRenewableSasToken(token)
again = SymmetricKeySigningMechanism(key).sign(f"{info['sr']}\\n{info['se']}")
print(json.dumps({
    "hub": configuration.hostname, "device": configuration.device_id, "resource": parsed.resource_uri,
    "ends": parsed.expiry_time, "policy": info["skn"], "same": again == unquote(info["sig"]),
}))
"""


def taken(token: str, key: bytes) -> Any:
    """Return what the client reads of a signature, and whether it makes the same one with a key."""
    asked = json.dumps([token, base64.b64encode(key).decode()])
    done = subprocess.run([PYTHON, "-c", PROGRAM], input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("device", ["gw-1", "SN_0.9"])
def test_the_client_takes_a_signature(signing: Product, device: str) -> None:
    """The client finds hub, device id and end in the signature, and would sign alike with the key."""
    answer = ask(signing, signing.identity(device)).body
    found = taken(answer["token"], KEYS.primary)
    ends = found.pop("ends")
    assert found == {
        "hub": HUB,
        "device": device,
        "resource": f"{HUB}/devices/{device}",
        "policy": "device",
        "same": True,
    }
    assert f"&se={ends}&" in answer["token"]
    assert taken(answer["token"], KEYS.secondary)["same"] is False
