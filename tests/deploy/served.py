"""Read what devices get from the deployed stack and what AWS IoT holds about them."""

from __future__ import annotations

import json
from typing import Any

from firstboot.pki import chain
from tests.deploy.conftest import Account
from tests.flows.conftest import until
from tests.flows.devices import Device

WAIT, STOP, REENROLL = 11, 12, 13
"""Exit codes of the device's client, one per action."""


def vend(account: Account, device: Device, exits: int = 0) -> dict[str, Any]:
    """Ask for credentials of the first role alias, expect exit code `exits`, and return the answer."""
    done = device.run(*device.credentials_arguments(account.cloud.endpoints["role_alias"]))
    assert done.returncode == exits, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stderr if exits else done.stdout)
    return answer


def still_served(account: Account, kept: Device, revoked: Device, fresh: Device) -> None:
    """Check that an enrolled device is served, a revoked one is refused, and a new one enrolls and gets a
    thing in AWS IoT.
    """
    assert kept.status()["deviceId"] == kept.name
    assert vend(account, kept)["SessionToken"]
    assert revoked.run("status", "--state", str(revoked.state)).returncode == STOP
    assert fresh.boot()["status"] == "active"
    until(lambda: registered(account, fresh))


def registered(account: Account, device: Device) -> bool:
    """Return whether the device has a thing with a certificate in AWS IoT."""
    iot = account.client("iot")
    known = iot.list_things()["things"]
    return device.name in {thing["thingName"] for thing in known} and bool(
        iot.list_thing_principals(thingName=device.name)["principals"]
    )


def misname(account: Account, device: Device) -> None:
    """Give a thing an attribute that its device record lacks, which the next reconciliation removes."""
    attributes = {"attributes": {"wrong": "yes"}}
    account.client("iot").update_thing(thingName=device.name, attributePayload=attributes)


def iot_status(account: Account, device: Device) -> str:
    """Return the status of a device's certificate in AWS IoT."""
    known = account.client("iot").describe_certificate(certificateId=chain.fingerprint(device.leaf))
    return str(known["certificateDescription"]["status"])
