"""The operator's calls about groups: naming expected devices, showing and freezing budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol

from firstboot.domain.claim import Limits, Spent
from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import Device, Status
from firstboot.domain.fleet import Budget, Fleet, Group
from firstboot.domain.names import DeviceId
from firstboot.domain.sweep import Sweep
from firstboot.operate import answers
from firstboot.operate.audit import Audit
from firstboot.operate.errors import BudgetMissing, GroupNotFound
from firstboot.operate.fleet_in_force import FleetInForce
from firstboot.operate.requests import Attributes, ExpectDevices, OneGroup, checked_ids
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.limits import check_attributes
from firstboot.policy.rules import Rules
from firstboot.runtime.messages import Json

AT_ONCE = 100
"""The most devices that one DynamoDB transaction can write."""


class Records(Protocol):
    """The device records and counters of groups. Every method raises Unavailable when AWS does not answer."""

    def expect(
        self, group: str, formerly: Sequence[str], devices: dict[DeviceId, Attributes], now: datetime
    ) -> list[DeviceId]:
        """Write the records of a group's expected devices, with their attributes.

        A known device keeps its record, which may have one of the group's names `formerly`. Return the
        devices that belong to another group.
        """

    def spent(self, group: str, limits: Limits) -> Spent:
        """Return how much of a group's budget is used up."""

    def freeze(self, group: str, limits: Limits, now: datetime) -> None:
        """Refuse enrollments of the group until it is thawed. A repeat changes nothing."""

    def thaw(self, group: str, limits: Limits) -> None:
        """Let a frozen group enroll again. A repeat changes nothing."""


class Sweeps(Protocol):
    """The row that says how far the last sweep got."""

    def read(self) -> Sweep | None:
        """Return the last sweep, or None before the first. Raises Unavailable."""


@dataclass(frozen=True)
class Groups:
    """The operations on groups.

    Every method raises GroupNotFound, and Unavailable when AWS does not answer. A repeat is safe.
    """

    records: Records
    sweeps: Sweeps
    fleet: FleetInForce
    audit: Audit

    def show(self, parameters: OneGroup, now: datetime) -> Json:
        """Return a group, the state of its budget, and how many devices each trust anchor has enrolled."""
        return self._state(find(parameters.group, self.fleet.current(now)))

    def freeze(self, parameters: OneGroup, now: datetime) -> Json:
        """Refuse enrollments of a group. Enrolled devices are not affected. Raises BudgetMissing."""
        group = find(parameters.group, self.fleet.current(now))
        self.records.freeze(group.counted_as, _budget(group).limits, now)
        self.audit("GroupFrozen", group=group.name)
        return self._state(group)

    def thaw(self, parameters: OneGroup, now: datetime) -> Json:
        """Let a frozen group enroll again. Raises BudgetMissing."""
        group = find(parameters.group, self.fleet.current(now))
        self.records.thaw(group.counted_as, _budget(group).limits)
        self.audit("GroupThawed", group=group.name)
        return self._state(group)

    def expect(self, parameters: ExpectDevices, now: datetime) -> Json:
        """Name devices of a group, with their attributes, before they come.

        The same list may be sent again. The answer names the devices that belong to another group.

        1. The group exists, and every attribute fits the schema. Otherwise nothing is written.
        2. A device that is known already keeps its record.

        Raises DeviceIdInvalid, AttributesInvalid.
        """
        rules = Rules(self.fleet.current(now))
        group = find(parameters.group, rules.fleet)  # 1
        name = group.name
        devices, moment = checked_ids(parameters.devices, rules.fleet.reserved), whole_seconds(now)
        for device_id, attributes in devices.items():
            check(Device(device_id, name, Status.EXPECTED, 0, moment, moment, attributes=attributes), rules)
        parts = [self.records.expect(name, group.formerly, part, moment) for part in _parts(devices)]  # 2
        foreign = [device_id for part in parts for device_id in part]
        self.audit("DevicesExpected", group=name, devices=len(devices) - len(foreign))
        return {"expected": len(devices) - len(foreign), "foreign": foreign}

    def _state(self, group: Group) -> Json:
        spent = self.records.spent(group.counted_as, group.budget.limits) if group.budget else None
        sweep = self.sweeps.read()
        return answers.group_state(group, spent, sweep.origins if sweep else None)


def find(name: str, fleet: Fleet) -> Group:
    """Return the group that has this name, or had it.

    Raises GroupNotFound.
    """
    group = fleet.group_of(name)
    if group is None:
        raise GroupNotFound(f"The groups are {', '.join(fleet.groups)}")
    return group


def check(device: Device, rules: Rules) -> None:
    """Refuse attributes that the rules can't read or that fit no answer. The error names the device.

    Raises AttributesInvalid.
    """
    try:
        rules.check_attributes(device)
        check_attributes(device.attributes)
    except AttributesInvalid as error:
        raise AttributesInvalid(f"{device.device_id}: {error.detail}") from error


def _budget(group: Group) -> Budget:
    if group.budget is None:
        raise BudgetMissing
    return group.budget


def _parts(devices: dict[DeviceId, Attributes]) -> Iterator[dict[DeviceId, Attributes]]:
    items = iter(devices.items())
    while part := dict(islice(items, AT_ONCE)):
        yield part
