"""The operator's calls about single devices.

Revoking and deleting start in the device record. `exchange` and `vend` read it consistently, so both refuse
the device from its next call on. AWS IoT follows through the table's stream (register/withdraw.py). Sessions
that were vended before stay valid until they expire.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from firstboot.domain.device import Attribute, Device
from firstboot.domain.enrollments import suspicions
from firstboot.domain.errors import DeviceNotFound
from firstboot.domain.names import DeviceId, device_id
from firstboot.operate import answers
from firstboot.operate.audit import Audit
from firstboot.operate.excess import check_sum
from firstboot.operate.explain import explain
from firstboot.operate.fleet_in_force import FleetInForce
from firstboot.operate.requests import ExplainDevice, ListDevices, OneDevice, SetAttributes
from firstboot.policy.limits import check_attributes
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.policy.sums import Sums
from firstboot.runtime.messages import Json


class Records(Protocol):
    """The device records. Every method raises Unavailable when AWS does not answer."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently."""

    def page(
        self,
        limit: int,
        after: str | None,
        enrolled_by: str | None = None,
        anchor: str | None = None,
        *,
        suspect: bool = False,
    ) -> tuple[list[Device], str | None]:
        """Return about `limit` records, in no order, and where the next page starts, or None.

        With `enrolled_by`, only those that this bootstrap certificate enrolled (its identifier, or an id of
        AWS IoT's for it), and with `anchor`, only those under this anchor (SHA-256 of its key, hex). With
        `suspect`, those that may be suspect, and not most others.
        """

    def revoke(self, device_id: DeviceId, now: datetime) -> Device:
        """Take the device's rights for good. A repeat changes nothing. Raises DeviceNotFound."""

    def delete(self, device_id: DeviceId, now: datetime) -> Device:
        """Take the device's rights, and mark its record for removal after its withdrawal from AWS IoT.

        A repeat changes nothing. Raises DeviceNotFound.
        """

    def set_attributes(
        self, device_id: DeviceId, changes: dict[str, Attribute | None], now: datetime
    ) -> Device:
        """Set attributes. None removes one. Raises DeviceNotFound."""


@dataclass(frozen=True)
class Devices:
    """The operations on single devices. Every method raises Unavailable when AWS does not answer."""

    records: Records
    fleet: FleetInForce
    place: Place
    audit: Audit

    def list(self, parameters: ListDevices, now: datetime) -> Json:
        """Return a page of the devices, and the token of the next page."""
        devices, following = self.records.page(
            parameters.limit,
            parameters.after,
            parameters.enrolled_by,
            parameters.anchor,
            suspect=parameters.suspect,
        )
        shown = [answers.device(device) for device in devices]
        if parameters.suspect:
            reasons = [suspicions(device.enrolled, now) for device in devices]
            shown = [record | {"suspicions": why} for record, why in zip(shown, reasons, strict=True) if why]
        return {"devices": shown, "next": following}

    def show(self, parameters: OneDevice, _: datetime) -> Json:
        """Return a device's record. Raises DeviceIdInvalid, DeviceNotFound."""
        return answers.device(self._device(parameters.device_id))

    def revoke(self, parameters: OneDevice, now: datetime) -> Json:
        """Revoke a device for good. Raises DeviceIdInvalid, DeviceNotFound."""
        device = self.records.revoke(device_id(parameters.device_id), now)
        self.audit("DeviceRevoked", deviceId=device.device_id)
        return answers.device(device)

    def delete(self, parameters: OneDevice, now: datetime) -> Json:
        """Delete a device. Its name is free after its withdrawal from AWS IoT.

        Its certificates stay in S3, and its keys stay bound to it: a key that turns up under another name has
        been copied. Raises DeviceIdInvalid, DeviceNotFound.
        """
        device = self.records.delete(device_id(parameters.device_id), now)
        self.audit("DeviceDeleted", deviceId=device.device_id)
        return answers.device(device)

    def set_attributes(self, parameters: SetAttributes, now: datetime) -> Json:
        """Set and remove a device's attributes.

        1. The new values fit the fleet's schema, so that the rules can read them, and all attributes together
           fit an answer.
        2. The grants that the device would hold are not certainly too large together. That they may be is a
           warning in the answer.
        3. Only then are they written.

        Raises DeviceIdInvalid, DeviceNotFound, AttributesInvalid.
        """
        changes, rules = parameters.attributes, Rules(self.fleet.current(now))
        device = self._device(parameters.device_id)
        values = {name: value for name, value in changes.items() if value is not None}
        rules.check_attributes(replace(device, attributes=values))  # 1
        kept = {name: value for name, value in device.attributes.items() if name not in changes}
        check_attributes(kept | values)
        warnings = check_sum(Sums(rules, self.place), device, replace(device, attributes=kept | values))  # 2
        changed = self.records.set_attributes(device.device_id, changes, now)  # 3
        self.audit("AttributesSet", deviceId=device.device_id, attributes=sorted(changes))
        return answers.device(changed) | {"warnings": warnings}

    def explain(self, parameters: ExplainDevice, now: datetime) -> Json:
        """Return why a device holds its grants. Raises DeviceIdInvalid, DeviceNotFound."""
        rules = Rules(self.fleet.current(now))
        device = self._device(parameters.device_id)
        return answers.explanation(
            device, explain(device, parameters.contexts(rules.fleet), rules, self.place)
        )

    def _device(self, name: str) -> Device:
        """Return the record. Raises DeviceIdInvalid, DeviceNotFound, Unavailable."""
        device = self.records.device(device_id(name))
        if device is None:
            raise DeviceNotFound
        return device
