"""Deleting a device: nothing stays of it that could connect, and its name is free again.

1. The registry: exchange and vend read it consistently, so both refuse from the next call on.
2. `register` hears of that. It clears AWS IoT of the device, and then removes the record.

Its certificates stay in S3, and its keys stay its own: a key that once was one device's is never
another's. Sessions vended before live until they expire.
"""

from __future__ import annotations

from datetime import datetime

from firstboot.domain.device import Device
from firstboot.domain.names import DeviceId
from firstboot.domain.ports import OperatorRegistry


def delete(device_id: DeviceId, registry: OperatorRegistry, now: datetime) -> Device:
    """The device's record, marked to go; repeating it changes nothing.

    Raises DeviceNotFound, Unavailable.
    """
    return registry.delete(device_id, now)  # 1
