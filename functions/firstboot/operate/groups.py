"""The operator's calls about groups: naming expected devices, showing and freezing budgets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol

from firstboot.domain.claim import Limits, Spent
from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import Device, Status
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId
from firstboot.domain.plans import Budget
from firstboot.domain.sweep import Sweep
from firstboot.operate import answers
from firstboot.operate.audit import Audit
from firstboot.operate.errors import BudgetMissing, GroupNotFound
from firstboot.operate.excess import check_sum
from firstboot.operate.fleet_in_force import FleetInForce
from firstboot.operate.requests import Attributes, ExpectDevices, OneGroup, checked_ids
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.limits import check_attributes
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.policy.sums import Sums
from firstboot.runtime.messages import Json

AT_ONCE = 100
"""The most devices that one DynamoDB transaction can write."""

_SHOWN = 5
"""Ids that a refusal names."""


class Records(Protocol):
    """The device records and counters of groups. Every method raises Unavailable when AWS does not answer."""

    def expect(self, group: str, devices: dict[DeviceId, Attributes], now: datetime) -> dict[DeviceId, str]:
        """Write the records of a group's expected devices, with their attributes.

        A device that has a record keeps it. Return the group of each of these.
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
    place: Place

    def show(self, parameters: OneGroup, now: datetime) -> Json:
        """Return a group, its budget's state, and its numbers of devices by trust anchor and by way."""
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

        The same list may be sent again. The answer says how many devices are new, how many the group had
        already, and which belong to another group. It warns of grants that may be too large together.

        1. The group exists, every attribute fits the schema, and no device would certainly hold more grants
           than fit. Otherwise nothing is written.
        2. A device that is known already keeps its record.

        Raises DeviceIdInvalid, AttributesInvalid.
        """
        rules = Rules(self.fleet.current(now))
        group = find(parameters.group, rules.fleet)  # 1
        name = group.name
        devices, moment = checked_ids(parameters.devices, rules.fleet.ids), whole_seconds(now)
        check_space(devices, group)
        warnings = check(
            [
                Device(device_id, name, Status.EXPECTED, 0, moment, moment, attributes=attributes)
                for device_id, attributes in devices.items()
            ],
            rules,
            self.place,
        )
        parts = [self.records.expect(name, part, moment) for part in _parts(devices)]  # 2
        known = {device_id: recorded for part in parts for device_id, recorded in part.items()}
        foreign = [device_id for device_id, recorded in known.items() if recorded not in group.names]
        expected, new = len(devices) - len(foreign), len(devices) - len(known)
        self.audit("DevicesExpected", group=name, devices=expected)
        counted = {"expected": expected, "new": new, "known": len(known) - len(foreign)}
        return counted | {"foreign": foreign, "warnings": warnings}

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


def check_space(devices: Iterable[DeviceId], group: Group) -> None:
    """Refuse ids that no device of the group may have. Raises DeviceIdInvalid."""
    if outside := [name for name in devices if not group.may_name(name)]:
        shown = ", ".join(outside[:_SHOWN]) + (" …" if len(outside) > _SHOWN else "")
        raise DeviceIdInvalid(f"Group {group.name} has {group.space}, and not {shown}")


def check(devices: Iterable[Device], rules: Rules, place: Place) -> list[str]:
    """Refuse new devices whose attributes the rules can't read, fit no answer, or give too many grants.

    Return a warning for each excess that is only possible. Raises AttributesInvalid, which names the device.
    """
    sums, warnings = Sums(rules, place), dict[str, None]()
    for device in devices:
        try:
            rules.check_attributes(device)
            check_attributes(device.attributes)
            warnings |= dict.fromkeys(check_sum(sums, None, device))
        except AttributesInvalid as error:
            raise AttributesInvalid(f"{device.device_id}: {error.detail}") from error
    return list(warnings)


def _budget(group: Group) -> Budget:
    if group.budget is None:
        raise BudgetMissing
    return group.budget


def _parts(devices: dict[DeviceId, Attributes]) -> Iterator[dict[DeviceId, Attributes]]:
    items = iter(devices.items())
    while part := dict(islice(items, AT_ONCE)):
        yield part
