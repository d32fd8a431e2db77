"""Microsoft's own device client for Azure IoT Hub, unmodified, reads a shared access signature."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

from local.processes import ROOT

PYTHON = ROOT / ".venv/azure/bin/python"
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


def check_taken(token: str, key: bytes, hub: str, device: str) -> None:
    """Check that the client finds hub, device id and end in a signature, and would sign alike with a key."""
    found = taken(token, key)
    ends = found.pop("ends")
    resource = f"{hub}/devices/{device}"
    assert found == {"hub": hub, "device": device, "resource": resource, "policy": "device", "same": True}
    assert f"&se={ends}&" in token
