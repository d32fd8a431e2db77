"""Warnings about grants that may be too large together, as far as the fleet definition alone shows it.

The compiler does not call this, because rules may exclude grants from each other in ways that only the
attributes of devices show. `fleet apply` reads them from the device records.
"""

from __future__ import annotations

from collections.abc import Iterator

from firstboot.compiler.templates import LONGEST, WIDEST
from firstboot.domain.clock import EPOCH
from firstboot.domain.device import Device, Status
from firstboot.domain.fleet import Fleet
from firstboot.policy import limits, vocabulary
from firstboot.policy.errors import NoGrant, PoliciesTooLarge
from firstboot.policy.render import connection_policies, is_about_iot, session_policy
from firstboot.policy.rules import Rules
from firstboot.policy.sums import OWN_POLICIES, Sums
from firstboot.policy.vocabulary import Json

_ROLE_ALIAS = {".": {"left": {"Var": "context"}, "attr": "roleAlias"}}


def warnings(fleet: Fleet) -> list[str]:
    """Return a line for each group and role alias whose grants may exceed a session policy together.

    There is a line as well for each group whose grants may exceed AWS IoT's limits on a connection over MQTT.
    The longest device id is assumed, and the place with the longest name.
    """
    policies = list(vocabulary.policies(fleet.rules).values())
    found = Sums(Rules(fleet), WIDEST)
    lines = []
    for group in fleet.groups:
        new = found.of(Device(LONGEST, group, Status.EXPECTED, 0, EPOCH, EPOCH))
        certain = {each.role_alias: each.text for each in new if each.certain}
        lines += [f"groups.{group}: a new device with a long id: {text}" for text in certain.values()]
        for alias in (each for each in fleet.role_aliases if each not in certain):
            together = sorted(_possible(fleet, policies, group, alias))
            size = len(session_policy(fleet, together, LONGEST, WIDEST)) if together else 0
            if size > limits.SESSION_POLICY:
                lines.append(_line(group, alias, together, size))
        if None not in certain:
            lines += _connection(fleet, group, sorted(_possible(fleet, policies, group, "")))
    return lines


def _connection(fleet: Fleet, group: str, grants: list[str]) -> Iterator[str]:
    """Yield the line of a group whose devices may hold more grants about AWS IoT than it allows."""
    together = [grant for grant in grants if is_about_iot(fleet, grant)]
    start = f"groups.{group}: MQTT: a device that held all of the grants {', '.join(together)} would have"
    if fleet.groups[group].mqtt == "registry":
        policies = len(together) + OWN_POLICIES
        if policies > limits.IOT_POLICIES:
            yield f"{start} {policies} policies on its certificate, and it may have {limits.IOT_POLICIES}"
        return
    try:
        connection_policies(fleet, together, LONGEST, WIDEST)
    except NoGrant:
        return
    except PoliciesTooLarge as error:
        yield f"{start} more than fits the custom authorizer's answer ({error.log})"


def _line(group: str, alias: str, grants: list[str], size: int) -> str:
    return (
        f"groups.{group}: role alias {alias}: a device that held all of the grants {', '.join(grants)} would"
        f" have a session policy of {size:,} characters, and it may have {limits.SESSION_POLICY:,}"
    )


def _possible(fleet: Fleet, policies: list[Json], group: str, alias: str) -> set[str]:
    """Return the policies that some device of a group may hold under a role alias, and maybe others.

    The scopes of the rules count, and the role alias that they ask for; all else is assumed to be true.
    """
    grants: set[str] = set()
    for policy in policies:
        if policy["effect"] == "permit" and _is_about(policy, group) and _may_ask_for(policy, alias):
            grant = _entity(policy["resource"])
            grants |= {grant["id"]} if grant else fleet.policies.keys()
    return grants & fleet.policies.keys()


def _is_about(policy: Json, group: str) -> bool:
    principal = _entity(policy["principal"])
    return principal is None or principal["type"] == "Device" or principal["id"] == group


def _entity(scope: Json) -> Json | None:
    """Return the entity that a scope names, also in `is … in`; None if it names none."""
    found: Json | None = scope.get("entity") or scope.get("in", {}).get("entity")
    return found


def _may_ask_for(policy: Json, alias: str) -> bool:
    conditions = [each["body"] for each in policy["conditions"] if each["kind"] == "when"]
    for part in _conjuncts(conditions):
        match part:
            case {"==": {"left": left, "right": {"Value": str(value)}}} if left == _ROLE_ALIAS:
                if value != alias:
                    return False
    return True


def _conjuncts(waiting: list[Json]) -> Iterator[Json]:
    """Yield the expressions that must all be true for each of these to be true."""
    while waiting:
        expression = waiting.pop()
        if "&&" in expression:
            waiting += expression["&&"].values()
        else:
            yield expression
