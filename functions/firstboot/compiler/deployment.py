"""Find the parts of a fleet definition that need a deployment to take effect."""

from __future__ import annotations

import json
from dataclasses import replace

from firstboot.domain.fleet import Fleet, Group, RoleAlias
from firstboot.domain.hubs import KIND
from firstboot.domain.token_issuer import TokenIssuer
from firstboot.domain.ways import DEFAULT
from firstboot.pki import certificate
from firstboot.policy.render import Place, ceiling


def needs_deployment(deployed: Fleet, fleet: Fleet) -> list[str]:
    """Return a line for each kind of difference that only a deployment can put in force.

    A role alias needs its IAM role, and a trust anchor must be in API Gateway's truststore. An anchor that
    moves, and a budget that goes, change what a factory CA may do; that is for a deployer to decide. Token
    issuers are trusted parties as well, and the first of them needs the custom authorizer. A way that is no
    default one, and a grant for an IoT hub, need routes or resources of their own. JITR that was off
    needs the factory CAs in AWS IoT. Another source of ids gives every device of a group another id.
    """
    reasons = []
    if _with_roles(fleet) != _with_roles(deployed):
        reasons.append("role aliases differ from the deployed ones")
    reasons += _moved(deployed, fleet)
    if fleet.issuers != _issuers(deployed, fleet):
        reasons.append("token issuers differ from the deployed ones")
    if started := _started(deployed, fleet):
        reasons.append(f"JITR is off in the deployed groups {', '.join(started)}")
    opened = fleet.offers - deployed.offers - set(DEFAULT)
    if KIND in opened:
        reasons.append(f"no deployed grant is of the kind {KIND}")
    if ways := sorted(opened - {KIND}):
        reasons.append(f"no deployed group has the way {', '.join(ways)}")
    reasons += [f"the devices of the group {name} would get other ids" for name in renaming(deployed, fleet)]
    return reasons + _uncounted(deployed, fleet)


def _with_roles(fleet: Fleet) -> dict[str, RoleAlias]:
    """Return the role aliases of a fleet, without what no role depends on."""
    return {name: replace(alias, max_answer=None) for name, alias in fleet.role_aliases.items()}


def renaming(before: Fleet, after: Fleet) -> list[str]:
    """Return the names, in `after`, of groups that would read other ids from the same certificates."""
    heirs = [(group, after.group_of(group.name)) for group in before.groups.values()]
    return [heir.name for group, heir in heirs if heir and heir.naming != group.naming]


def orphaned(before: Fleet, after: Fleet) -> list[str]:
    """Return the names of groups of `before` whose devices no group of `after` has, or another one.

    A device record may have the group's name or a former one, so each of them counts.
    """
    return [
        name for group in before.groups.values() for name in group.names if not _stays(group, name, after)
    ]


def _stays(group: Group, name: str, after: Fleet) -> bool:
    """Return whether devices that are recorded under a name of `group` stay with the others of the group."""
    successor, home = after.group_of(name), after.group_of(group.name)
    return successor is not None and (home is None or home is successor)


def beyond_roles(deployed: Fleet, fleet: Fleet) -> list[str]:
    """Return the grants of `fleet` that may allow more than all deployed grants together.

    The excess has no effect on sessions before a deployment: the roles allow what the deployed grants allow,
    and a session never has more rights than its role.
    """
    allowed = _allowed(deployed)
    return [
        name
        for name in fleet.grants
        if not _allowed(replace(fleet, grants={name: fleet.grants[name]})) <= allowed
    ]


def _allowed(fleet: Fleet) -> set[str]:
    # Statements are compared as text. One that is only written differently counts as more, which causes a
    # warning too many; the opposite mistake would hide a grant that has no effect.
    statements = ceiling(fleet, Place("{partition}", "{region}", "{account}"))["Statement"]
    return {json.dumps(statement, sort_keys=True) for statement in statements}


def _moved(deployed: Fleet, fleet: Fleet) -> list[str]:
    """Return the reasons why trust anchors need a deployment.

    A group that goes takes its anchors with it, or leaves them to a group that is new: `operate` then asks
    for the number of its devices.
    """
    old, new = _anchors(deployed), _anchors(fleet)
    reasons = ["trust anchors differ from the deployed ones"] if new.keys() - old.keys() else []
    for anchor, group in old.items():
        heir, owner = fleet.group_of(group.name), new.get(anchor)
        if heir is None and (owner is None or _is_new(owner, deployed)):
            continue
        if heir is None or owner is not heir:
            reasons.append(f"a trust anchor of the deployed group {group.name} is moved or dropped")
    return list(dict.fromkeys(reasons))


def _is_new(group: Group, deployed: Fleet) -> bool:
    return all(deployed.group_of(name) is None for name in group.names)


def _uncounted(deployed: Fleet, fleet: Fleet) -> list[str]:
    """Return the reasons why budgets need a deployment: one goes, or its count would begin at zero."""
    reasons = []
    for group in deployed.groups.values():
        heir = fleet.group_of(group.name)
        if heir is None or group.budget is None:
            continue
        if heir.budget is None:
            reasons.append(f"the group {heir.name} loses its budget")
        elif heir.counted_as != group.counted_as:
            reasons.append(
                f"the enrollments of the group {heir.name} would be counted from zero, unless its `formerly` "
                f"begins with {group.counted_as}"
            )
    return reasons


def _issuers(deployed: Fleet, fleet: Fleet) -> dict[str, TokenIssuer]:
    """Return the deployed token issuers, with the names that their groups have in `fleet`."""
    return {
        name: replace(issuer, groups=tuple(map(fleet.current_name, issuer.groups)))
        for name, issuer in deployed.issuers.items()
    }


def _started(deployed: Fleet, fleet: Fleet) -> list[str]:
    """Return the deployed groups without JITR whose factory CAs a deployment would register in AWS IoT."""
    new = _anchors(fleet)
    off = [(anchor, group) for anchor, group in _anchors(deployed).items() if group.jitr == "off"]
    return sorted({group.name for anchor, group in off if anchor in new and new[anchor].jitr != "off"})


def _anchors(fleet: Fleet) -> dict[str, Group]:
    """Return the group of each trust anchor, by the SHA-256 (hex) of the anchor."""
    return {
        certificate.anchor(pem).fingerprint: group for group in fleet.groups.values() for pem in group.trust
    }
