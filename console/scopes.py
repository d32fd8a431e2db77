"""Find the groups and grants that each rule can concern, and whether it reads claims. No input or output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from cedarpy import format_policies, policies_from_json_str, policies_to_json_str

from firstboot.domain.fleet import Fleet
from firstboot.policy import vocabulary

Json = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """A rule. `text` is the rule as Cedar writes it, without comments, which is what decides. `groups` and
    `grants` are those of the fleet that the rule's scope allows. Its conditions can exclude some of them.
    `reads_claims` is true if a condition reads what devices say of themselves.
    """

    id: str
    effect: Literal["permit", "forbid"]
    groups: tuple[str, ...]
    grants: tuple[str, ...]
    text: str
    reads_claims: bool


def rules(fleet: Fleet) -> list[Rule]:
    """Return the rules of a fleet that the compiler made, in the order in which they are written."""
    parsed: dict[str, Json] = json.loads(policies_to_json_str(fleet.rules))["staticPolicies"]
    # Cedar numbers the rules (policy0, policy1, …), and its JSON may have them in another order.
    ordered = sorted(parsed.items(), key=lambda item: int(item[0].removeprefix("policy")))
    return [_rule(policy, fleet) for _, policy in ordered]


def _rule(policy: Json, fleet: Fleet) -> Rule:
    return Rule(
        id=policy["annotations"]["id"],
        effect=policy["effect"],
        groups=tuple(name for name in fleet.groups if _concerns(policy["principal"], "Group", name)),
        grants=tuple(name for name in sorted(fleet.grants) if _concerns(policy["resource"], "Grant", name)),
        text=_written(policy),
        reads_claims=_reads_claims(policy["conditions"]),
    )


def forbids_by_claim(fleet: Fleet) -> list[str]:
    """Return the ids of the `forbid` rules that read claims.

    They are no barrier against an attacker, because a device may claim anything.
    """
    return [rule.id for rule in rules(fleet) if rule.effect == "forbid" and rule.reads_claims]


def _reads_claims(conditions: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Return whether conditions in Cedar's JSON read an attribute `claims`, also one of another record."""
    return any(
        isinstance(read := node.get(operator), dict) and read.get("attr") == "claims"
        for node in vocabulary.nodes(conditions)
        for operator in (".", "has")
    )


def _concerns(scope: Json, kind: str, name: str) -> bool:
    """Return whether a scope allows the entity of that kind and name.

    A scope that names one device allows every group, because the device can be in any of them.
    """
    entity = scope.get("entity") or scope.get("in", {}).get("entity")
    return entity is None or entity["type"] != kind or entity["id"] == name


def _written(policy: Json) -> str:
    document = {"staticPolicies": {"policy0": policy}, "templates": {}, "templateLinks": []}
    return format_policies(policies_from_json_str(json.dumps(document))).strip()
