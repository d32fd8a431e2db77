"""Rebinding: admit another bootstrap key of a device once.

A group with `pin_bootstrap` binds the name of a device to the key of the bootstrap certificate that it first
enrolled with. A board that replaces another one has another key. An operator names this key beforehand, in a
one-time admission. The claim of the board uses it, and binds the name to the board's key.

1. The day is not over.
2. The device's group binds names to keys, and the device is neither revoked nor deleted.
3. The device is not bound to this key already.
4. The admission is written to the record, in the place of an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from firstboot.domain.clock import iso, whole_seconds
from firstboot.domain.device import Device, KeyAdmission, check_not_revoked
from firstboot.domain.errors import DeviceNotFound
from firstboot.domain.names import DeviceId, device_id
from firstboot.domain.plans import end_of_day
from firstboot.operate import answers
from firstboot.operate.audit import Audit
from firstboot.operate.fleet_in_force import FleetInForce
from firstboot.operate.requests import RebindDevice
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import Json


class Records(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def admit_once(self, device_id: DeviceId, admission: KeyAdmission, now: datetime) -> Device:
        """Write the device's one-time admission in the place of an earlier one, and return the record.

        Raises Unavailable also if the device was revoked, deleted or bound to this key in the meantime.
        """


@dataclass(frozen=True)
class DeviceRebinding:
    """The use case that admits another bootstrap key of a device once."""

    records: Records
    fleet: FleetInForce
    audit: Audit

    def __call__(self, parameters: RebindDevice, now: datetime) -> Json:
        """Write the one-time admission and return the record.

        A repeat changes only `updatedAt`, until the admission was used. Raises DeviceIdInvalid,
        DeviceNotFound, DeviceRevoked, CertificateNotCurrent (a deleted device), MalformedRequest and
        Unavailable.
        """
        name, until = device_id(parameters.device_id), whole_seconds(end_of_day(parameters.until))
        if until <= now:  # 1
            raise MalformedRequest(f"until: {parameters.until} is over (UTC)")
        device = self.records.device(name)
        if device is None:
            raise DeviceNotFound
        check_not_revoked(device)  # 2
        group = self.fleet.current(now).group_of(device.group)
        if group is None or not group.pins:
            raise MalformedRequest(f"Group {device.group} binds no device to a bootstrap key")
        if device.pin == parameters.key:  # 3
            raise MalformedRequest("key: the device is bound to this key already")
        admission = KeyAdmission(parameters.key, until)
        changed = self.records.admit_once(name, admission, whole_seconds(now))  # 4
        self.audit("DeviceRebound", deviceId=name, pin=device.pin, key=admission.key, until=iso(until))
        return answers.device(changed)
