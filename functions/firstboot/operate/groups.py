"""Whole groups: devices named before they come, and budgets looked at, frozen and thawed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from firstboot.domain.claim import Spent
from firstboot.domain.device import Attribute, Device, Status
from firstboot.domain.errors import AttributesInvalid, BudgetMissing, GroupNotFound
from firstboot.domain.fleet import Budget, Fleet, Group
from firstboot.domain.names import DeviceId
from firstboot.domain.ports import OperatorRegistry
from firstboot.policy.limits import check_attributes
from firstboot.policy.rules import Rules

AT_ONCE = 100
"""Devices a transaction: DynamoDB's own limit."""


@dataclass(frozen=True)
class GroupState:
    """A group, and how much of its budget is used up; None where it has none."""

    group: Group
    spent: Spent | None


def show(name: str, fleet: Fleet, registry: OperatorRegistry) -> GroupState:
    """The group's state.

    Raises GroupNotFound, Unavailable.
    """
    group = find(name, fleet)
    return GroupState(group, registry.spent(name, group.budget.limits) if group.budget else None)


def freeze(name: str, fleet: Fleet, registry: OperatorRegistry, now: datetime) -> GroupState:
    """The group's state, taking no enrollments from now on; devices that are enrolled go on.

    Raises GroupNotFound, BudgetMissing, Unavailable.
    """
    registry.freeze(name, _budget(name, fleet).limits, now)
    return show(name, fleet, registry)


def thaw(name: str, fleet: Fleet, registry: OperatorRegistry) -> GroupState:
    """The group's state, taking enrollments again.

    Raises GroupNotFound, BudgetMissing, Unavailable.
    """
    registry.thaw(name, _budget(name, fleet).limits)
    return show(name, fleet, registry)


def expect(
    name: str,
    devices: dict[DeviceId, dict[str, Attribute]],
    rules: Rules,
    registry: OperatorRegistry,
    now: datetime,
) -> list[DeviceId]:
    """Name devices of a group, with their attributes, before they come; the same list may be sent
    again. Returns those left out because they belong to another group.

    1. The group is there, and every attribute fits the schema: else nothing is written.
    2. A device that is known already keeps its record.

    Raises GroupNotFound, AttributesInvalid, Unavailable.
    """
    find(name, rules.fleet)  # 1
    for device_id, attributes in devices.items():
        check(Device(device_id, name, Status.EXPECTED, 0, now, now, attributes=attributes), rules)
    foreign = [registry.expect(name, part, now) for part in _parts(devices)]  # 2
    return [each for part in foreign for each in part]


def check(device: Device, rules: Rules) -> None:
    """Refuse attributes that the rules could not read, or that fit no answer; the error names the device.

    Raises AttributesInvalid.
    """
    try:
        rules.check_attributes(device)
        check_attributes(device.attributes)
    except AttributesInvalid as error:
        raise AttributesInvalid(f"{device.device_id}: {error.detail}") from error


def _parts(
    devices: dict[DeviceId, dict[str, Attribute]],
) -> Iterator[dict[DeviceId, dict[str, Attribute]]]:
    items = iter(devices.items())
    while part := dict(islice(items, AT_ONCE)):
        yield part


def find(name: str, fleet: Fleet) -> Group:
    """The group of that name.

    Raises GroupNotFound.
    """
    group = fleet.groups.get(name)
    if group is None:
        raise GroupNotFound(f"There are {', '.join(fleet.groups)}")
    return group


def _budget(name: str, fleet: Fleet) -> Budget:
    budget = find(name, fleet).budget
    if budget is None:
        raise BudgetMissing
    return budget
