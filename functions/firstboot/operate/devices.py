"""Looking at devices' records, and changing what the operator says of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from firstboot.domain.device import Attribute, Device
from firstboot.domain.errors import DeviceNotFound
from firstboot.domain.names import DeviceId
from firstboot.domain.ports import OperatorRegistry
from firstboot.policy.limits import check_attributes
from firstboot.policy.rules import Rules


def show(device_id: DeviceId, registry: OperatorRegistry) -> Device:
    """The device's record.

    Raises DeviceNotFound, Unavailable.
    """
    device = registry.device(device_id)
    if device is None:
        raise DeviceNotFound
    return device


def set_attributes(
    device_id: DeviceId,
    changes: dict[str, Attribute | None],
    rules: Rules,
    registry: OperatorRegistry,
    now: datetime,
) -> Device:
    """Return the record with `changes` made (None removes an attribute).

    1. What is set fits the fleet's schema: else the rules could not read it. All of them fit an
       answer.
    2. Only then it is written.

    Raises DeviceNotFound, AttributesInvalid, Unavailable.
    """
    device = show(device_id, registry)
    values = {name: value for name, value in changes.items() if value is not None}
    rules.check_attributes(replace(device, attributes=values))  # 1
    kept = {name: value for name, value in device.attributes.items() if name not in changes}
    check_attributes(kept | values)
    return registry.set_attributes(device_id, changes, now)  # 2
