"""One-time passwords: admit one device to its group by EST for an hour.

1. The fleet lets a device have the id.
2. The group is that of the device's record or, without a record, the one that the operator names.
3. The group has the way `est`, may have a device with this id, and is open. The device is not revoked.
4. The password is made. It is nowhere but in the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from firstboot.domain.clock import epoch, iso
from firstboot.domain.device import Device, check_not_revoked
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId, device_id
from firstboot.identity.admission import check_open
from firstboot.operate.audit import Audit
from firstboot.operate.errors import GroupNotFound
from firstboot.operate.fleet_in_force import FleetInForce
from firstboot.operate.requests import AdmitDevice
from firstboot.pki import password
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import Json


class Records(Protocol):
    """The device records and the key of passwords. Every method raises Unavailable."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def password_key(self) -> bytes:
        """Return the key of all one-time passwords."""


@dataclass(frozen=True)
class DevicePassword:
    """The use case that makes a one-time password."""

    records: Records
    fleet: FleetInForce
    audit: Audit

    def __call__(self, parameters: AdmitDevice, now: datetime) -> Json:
        """Return a one-time password. Each call makes another one.

        Raises DeviceIdInvalid, GroupNotFound, MalformedRequest, DeviceRevoked, CertificateNotCurrent (a
        deleted device), EnrollmentClosed and Unavailable.
        """
        fleet = self.fleet.current(now)
        name = device_id(parameters.device_id, fleet.ids)  # 1
        device = self.records.device(name)
        group = _group(device, parameters.group, fleet)  # 2
        _check(name, device, group, now)  # 3
        made, until = password.make(self.records.password_key(), name, group.name, now)  # 4
        self.audit("DevicePasswordMade", deviceId=name, group=group.name, until=iso(until))
        return {
            "deviceId": name,
            "group": group.name,
            "password": made,
            "expiresAt": iso(until),
            "expiresIn": epoch(until) - epoch(now),
        }


def _group(device: Device | None, named: str | None, fleet: Fleet) -> Group:
    wanted = fleet.current_name(named) if named else None
    bound = fleet.current_name(device.group) if device else wanted
    if bound is None:
        raise MalformedRequest("group: the device has no record, so its group must be named")
    if wanted not in (None, bound):
        raise MalformedRequest(f"group: the device belongs to group {bound}")
    found = fleet.group_of(bound)
    if found is None:
        raise GroupNotFound
    return found


def _check(name: DeviceId, device: Device | None, group: Group, now: datetime) -> None:
    if "est" not in group.ways:
        raise MalformedRequest(f"Group {group.name} does not have the way est")
    if not group.may_name(name):
        raise MalformedRequest(f"Group {group.name} has {group.space}")
    if device:
        check_not_revoked(device)
    elif group.is_shared:
        raise MalformedRequest(f"Group {group.name} expects no such device: run `groups expect` first")
    check_open(group, now)
