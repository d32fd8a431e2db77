"""A device that need not exist, to ask what the rules would give it. No input or output."""

from __future__ import annotations

from firstboot.domain.clock import EPOCH
from firstboot.domain.device import Attribute, Device, Status
from firstboot.domain.names import DeviceId

NAME = DeviceId("any-device")


def device(
    group: str,
    attributes: dict[str, Attribute] | None = None,
    claims: dict[str, Attribute] | None = None,
    device_id: DeviceId = NAME,
) -> Device:
    """Return an enrolled device of a group with these attributes and claims."""
    return Device(
        device_id,
        group=group,
        status=Status.ENROLLED,
        generation=1,
        created_at=EPOCH,
        updated_at=EPOCH,
        attributes=attributes or {},
        claims=claims or {},
    )
