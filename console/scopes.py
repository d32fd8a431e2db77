"""Rules as Cedar has parsed them: what each is, and whom it can concern. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from cedarpy import format_policies, policies_from_json_str, policies_to_json_str

from firstboot.domain.fleet import Fleet

Json = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """A rule. `text` is Cedar's own writing of it, without comments: what is decided by. `groups` and
    `grants` are those of the fleet that its scope does not rule out; its conditions may.
    """

    id: str
    effect: Literal["permit", "forbid"]
    groups: tuple[str, ...]
    grants: tuple[str, ...]
    text: str


def rules(fleet: Fleet) -> list[Rule]:
    """The rules of a fleet that came from the compiler, in the order they are written in."""
    parsed: dict[str, Json] = json.loads(policies_to_json_str(fleet.rules))["staticPolicies"]
    # Cedar numbers them (policy0, policy1, …), and its JSON may have them in another order.
    ordered = sorted(parsed.items(), key=lambda item: int(item[0].removeprefix("policy")))
    return [_rule(policy, fleet) for _, policy in ordered]


def _rule(policy: Json, fleet: Fleet) -> Rule:
    return Rule(
        id=policy["annotations"]["id"],
        effect=policy["effect"],
        groups=tuple(name for name in fleet.groups if _concerns(policy["principal"], "Group", name)),
        grants=tuple(name for name in sorted(fleet.grants) if _concerns(policy["resource"], "Grant", name)),
        text=_written(policy),
    )


def _concerns(scope: Json, kind: str, name: str) -> bool:
    """Whether a scope can be about an entity. One device's rule can be about any group."""
    entity = scope.get("entity") or scope.get("in", {}).get("entity")
    return entity is None or entity["type"] != kind or entity["id"] == name


def _written(policy: Json) -> str:
    document = {"staticPolicies": {"policy0": policy}, "templates": {}, "templateLinks": []}
    return format_policies(policies_from_json_str(json.dumps(document))).strip()
