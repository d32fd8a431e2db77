"""Revoking a device: it loses every right, for good.

1. The registry: exchange and vend read it consistently, so both refuse from the next call on.

AWS IoT follows through the table's stream, within seconds (withdrawal.py): certificates REVOKED, the
open connection dropped.

Sessions vended before live until they expire.
"""

from __future__ import annotations

from datetime import datetime

from firstboot.domain.device import Device
from firstboot.domain.names import DeviceId
from firstboot.domain.ports import OperatorRegistry


def revoke(device_id: DeviceId, registry: OperatorRegistry, now: datetime) -> Device:
    """The device's record, revoked; repeating it changes nothing.

    Raises DeviceNotFound, Unavailable.
    """
    return registry.revoke(device_id, now)  # 1
