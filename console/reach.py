"""Count the devices that a changed fleet touches, by group, trust anchor and way. No input or output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from firstboot.compiler.deployment import orphaned
from firstboot.domain.fleet import Fleet, Group
from firstboot.pki import certificate

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Counted:
    """The numbers of devices by the group in their records, by the SHA-256 (hex) of their trust anchor's key,
    and by group and the way of their enrollment.
    """

    groups: Counts
    anchors: Counts
    ways: Mapping[str, Counts]


@dataclass(frozen=True)
class Reach:
    """A change of a group, and the number of devices that it touches."""

    change: str
    devices: int


def orphans(before: Fleet, after: Fleet, groups: Counts) -> dict[str, int]:
    """Return the numbers of devices that lose their group, by the group in their records.

    `groups` are the numbers of all devices by that group.
    """
    return {name: groups.get(name, 0) for name in orphaned(before, after)}


def between(before: Fleet, after: Fleet, counted: Counted) -> list[Reach]:
    """Return what a fleet definition changes for whole groups, with the numbers of devices."""
    groups = counted.groups
    lost = orphans(before, after, groups)
    found = [Reach(f"devices recorded in {name} lose their group", count) for name, count in lost.items()]
    for group in before.groups.values():
        heir = after.group_of(group.name)
        if heir:
            members = sum(groups.get(name, 0) for name in group.names)
            found += [Reach(change, members) for change in _changes(group, heir)]
            found += _closed(group, heir, counted.ways)
    return found + list(_moved(before, after, counted.anchors)) + list(_former(after, groups))


def _changes(group: Group, heir: Group) -> Iterator[str]:
    if heir.name != group.name:
        yield f"group {group.name} is now called {heir.name}"
    if heir.naming != group.naming:
        yield f"the devices of {heir.name} would get other ids at their next enrollment"
    if heir.budget != group.budget:
        yield f"group {heir.name} {'has another' if heir.budget and group.budget else _budget(heir)} budget"


def _closed(group: Group, heir: Group, ways: Mapping[str, Counts]) -> Iterator[Reach]:
    """Yield the ways that a group loses, with the numbers of devices that enrolled by them."""
    for way in group.ways:
        if way not in heir.ways:
            members = sum(ways.get(name, {}).get(way, 0) for name in group.names)
            left = f"renew and get credentials by {', '.join(heir.ways)} only"
            change = f"way {way} closes for group {heir.name}. Devices that enrolled by it stay, and {left}"
            yield Reach(change, members)


def _budget(heir: Group) -> str:
    return "gets a" if heir.budget else "loses its"


def _moved(before: Fleet, after: Fleet, anchors: Counts) -> Iterator[Reach]:
    """Yield the trust anchors that a group loses. Their devices stay in the group that they enrolled in."""
    owners = {_key(pem): group for group in after.groups.values() for pem in group.trust}
    for group in before.groups.values():
        heir = after.group_of(group.name)
        for pem in group.trust:
            key = _key(pem)
            owner = owners.get(key)
            if owner is None or owner is not heir:
                where = f"moves from {group.name} to {owner.name}" if owner else f"leaves {group.name}"
                subject = certificate.anchor(pem).subject.text()
                yield Reach(f"trust anchor {subject} {where}", anchors.get(key, 0))


def _former(after: Fleet, groups: Counts) -> Iterator[Reach]:
    """Yield the former names of groups that are still needed, or are not."""
    for group in after.groups.values():
        for name in group.formerly:
            yield Reach(f"devices of {group.name} recorded in {name}", groups.get(name, 0))


def _key(pem: str) -> str:
    return certificate.anchor(pem).spki_fingerprint()
