"""Refuse and count what would give devices more grants than fit into a session or a connection.

What the fleet in force refuses a device already is counted and not refused once more: a rule that must be
published at once, or another attribute of such a device, can't wait until the excess is cured.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import product
from string import ascii_letters

from firstboot.compiler.errors import FleetInvalid
from firstboot.domain.device import Device, Status
from firstboot.domain.names import DeviceId, IdRule
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.sums import Excess, Sums, newly_certain
from firstboot.runtime.messages import Json

_EXAMPLES = 3
"""Devices of each kind that the answer about a page names."""


def check_sum(sums: Sums, before: Device | None, after: Device) -> list[str]:
    """Refuse a device whose grants are certainly too large together, and were not `before`.

    Return a warning for each excess that remains. Raises AttributesInvalid.
    """
    found = sums.of(after)
    fresh = newly_certain(sums.of(before) if before else (), found)
    if fresh:
        raise AttributesInvalid("; ".join(each.text for each in fresh))
    return [each.text for each in found]


def check_new_devices(before: Sums, after: Sums, now: datetime, is_over: Callable[[], bool]) -> list[str]:
    """Refuse a fleet in which each new device of a group gets too much, unless it was so `before`.

    Only the console can count the excesses of existing devices, a page a call. Return the groups that are
    not checked because `is_over` says that the time is: with thousands of them, no fleet could otherwise be
    published. Their devices are refused when they ask. Raises FleetInvalid.
    """
    problems, left = [], list(after.fleet.groups)
    # The shortest id: a group of longer ids exceeds the limit as well.
    name = _shortest(before.fleet.ids, after.fleet.ids)
    while left and not is_over():
        group = left.pop(0)
        device = Device(name, group, Status.EXPECTED, 0, now, now)
        problems += [
            f"rules.cedar: a new device of group {group} would get too much: {each.text}"
            for each in newly_certain(before.of(device), after.of(device))
        ]
    if problems:
        raise FleetInvalid(problems)
    return left


def _shortest(*rules: IdRule) -> DeviceId:
    """Return a shortest id that all of the rules allow."""
    # Under an id that a fleet does not allow, a device would hold no grant.
    texts = ("".join(letters) for size in (1, 2) for letters in product(ascii_letters, repeat=size))
    return next(DeviceId(text) for text in texts if all(rule.allows(text) for rule in rules))


class Count:
    """A count of the devices whose grants are too large together.

    `certain` are the devices that have a certain excess which they do not have `before`, `known` those that
    have it before as well, and `possible` the others.
    """

    def __init__(self, before: Sums, after: Sums) -> None:
        self._before, self._after = before, after
        self._found: dict[str, list[Json]] = {"certain": [], "known": [], "possible": []}

    def add(self, device: Device) -> None:
        """Count a device if its grants are too large together."""
        excesses = self._after.of(device)
        certain = [each for each in excesses if each.certain]
        fresh = newly_certain(self._before.of(device), certain) if certain else []
        if excesses:
            kind = "certain" if fresh else "known" if certain else "possible"
            self._found[kind].append(_example(device, (fresh or certain or excesses)[0]))

    @property
    def answer(self) -> Json:
        """Return the number of devices of each kind, with a few examples."""
        return {
            kind: {"devices": len(each), "examples": each[:_EXAMPLES]} for kind, each in self._found.items()
        }


def _example(device: Device, excess: Excess) -> Json:
    return {"deviceId": device.device_id, "roleAlias": excess.role_alias, "excess": excess.text}
