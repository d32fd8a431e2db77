"""Which grants' policies a device's certificates have in AWS IoT. Pure."""

from __future__ import annotations

from firstboot.lifecycle import Device, Status
from firstboot.policy.render import is_about_iot
from firstboot.policy.rules import Moment, Rules


def grants_to_attach(rules: Rules, device: Device) -> frozenset[str]:
    """The grants about AWS IoT that the device holds; none for one that is not enrolled, or whose
    group connects with tokens.
    """
    group = rules.fleet.groups.get(device.group)
    if device.status is not Status.ENROLLED or group is None or group.mqtt != "registry":
        return frozenset()
    held = rules.decide(device, Moment()).grants
    return frozenset(grant for grant in held if is_about_iot(rules.fleet, grant))
