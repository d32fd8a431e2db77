"""Check the rules and their schema, so that no decision at run time fails because of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

from cedarpy import PolicySet, Schema, is_authorized_batch, policies_to_json_str, validate_policies

from firstboot.compiler import sizes
from firstboot.domain import names
from firstboot.domain.clock import EPOCH
from firstboot.domain.device import Device, Status
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.fleet import Fleet
from firstboot.policy import vocabulary

RULES = "rules.cedar"
SCHEMA = "schema.cedarschema"

# Cedar's parser is recursive. A rule that is nested deeply enough would end the process instead of raising.
_MAX_RULE = 10_000
_MAX_BRACKETS = 200
_PROBE = names.device_id("probe")


def check(fleet: Fleet) -> list[str]:
    """Return the problems of the fleet's schema and rules. Each line names its file."""
    long = [*sizes.text(SCHEMA, fleet.schema), *sizes.text(RULES, fleet.rules)]
    excessive = long + [
        f"{file}: a declaration or rule has more than {_MAX_RULE} characters or {_MAX_BRACKETS} brackets"
        for file, text in ((SCHEMA, fleet.schema), (RULES, fleet.rules))
        if _is_excessive(text)
    ]
    if excessive:
        return excessive
    try:
        schema = Schema.from_str(fleet.schema)
    except ValueError as error:
        return [f"{SCHEMA}: {error}"]
    return [f"{SCHEMA}: {problem}" for problem in _schema(fleet, schema)] or list(_rules(fleet, schema))


def _is_excessive(text: str) -> bool:
    return any(
        len(piece) > _MAX_RULE or sum(map(piece.count, "([{<")) > _MAX_BRACKETS for piece in text.split(";")
    )


def _schema(fleet: Fleet, schema: Schema) -> list[str]:
    """Return the problems of the schema with the requests that Firstboot will make of Cedar.

    The requests are made without rules, so that every error comes from the schema.
    """
    contexts = [vocabulary.context(None, None), vocabulary.context("alias", "192.0.2.1")]
    problems: dict[str, None] = {}
    for group in fleet.groups:
        device = Device(_PROBE, group, Status.ENROLLED, generation=0, created_at=EPOCH, updated_at=EPOCH)
        requests = [vocabulary.request(_PROBE, *asked) for asked in product(fleet.grants, contexts)]
        for result in is_authorized_batch(
            requests, PolicySet.from_str(""), vocabulary.entities(device), schema
        ):
            # Cedar's message begins with the whole document.
            problems |= dict.fromkeys(error.rpartition("]: ")[2] for error in result.diagnostics.errors)
    return [f"does not fit Firstboot's requests: {problem}" for problem in problems]


def _rules(fleet: Fleet, schema: Schema) -> Iterator[str]:
    try:
        rules = json.loads(policies_to_json_str(fleet.rules))
    except (ValueError, RecursionError) as error:
        yield f"{RULES}: {error}"
        return
    if rules["templates"]:
        yield f"{RULES}: templates (?principal, ?resource) are not supported"
    policies: dict[str, Any] = rules["staticPolicies"]
    if many := sizes.rules(RULES, fleet, policies):
        yield from many
        return
    yield from _identifiers(fleet.rules, policies)
    for found in validate_policies(fleet.rules, schema).errors:
        yield f"{_place(fleet.rules, policies, found.policy_id)}: {found.error}"
    for policy_id, policy in policies.items():
        for problem in _policy(fleet, schema, policy):
            yield f"{_place(fleet.rules, policies, policy_id)}: {problem}"


def _identifiers(text: str, policies: dict[str, Any]) -> Iterator[str]:
    seen: set[str] = set()
    for policy_id, policy in policies.items():
        name = _identifier(policy)
        if not name:
            yield f'{_place(text, policies, policy_id)}: has no @id("…"), by which `explain` names the rule'
        elif name in seen:
            yield f'{RULES}: @id("{name}") is on more than one rule'
        seen.add(name)


def _identifier(policy: dict[str, Any]) -> str:
    return policy.get("annotations", {}).get("id") or ""


def _place(text: str, policies: dict[str, Any], policy_id: str) -> str:
    """Return the file and, if it can be found, the line of a rule's @id: Cedar gives no line itself."""
    name = _identifier(policies.get(policy_id, {}))
    match = re.search(rf'@id\(\s*"{re.escape(name)}"\s*\)', text) if name else None
    if match:
        return f'{RULES}:{text.count(chr(10), 0, match.start()) + 1}: rule "{name}"'
    number = re.sub(r"\D", "", policy_id)
    return f"{RULES}: rule number {int(number) + 1}" if number else RULES


def _policy(fleet: Fleet, schema: Schema, policy: dict[str, Any]) -> Iterator[str]:
    for node in vocabulary.nodes(policy):
        if node.keys() == {"type", "id"} and isinstance(node["id"], str):
            yield from _entity(fleet, node["type"], node["id"])
        elif isinstance(node.get("has"), dict):
            yield from _has(schema, node["has"])


def _entity(fleet: Fleet, kind: str, name: str) -> Iterator[str]:
    # Cedar accepts any id of an entity. A rule with a misspelled group would never apply, and a `forbid`
    # would silently forbid nothing.
    known = {"Group": set(fleet.groups), "Grant": set(fleet.grants), "Action": {"hold"}}
    if kind == "Device":
        try:
            names.device_id(name, names.IdRule(colons=fleet.colon_ids))
        except DeviceIdInvalid:
            yield f'Device::"{name}" is not a valid device id'
    elif kind not in known:
        yield f'{kind}::"{name}": Firstboot knows Device, Group, Grant and Action only'
    elif name not in known[kind]:
        yield f'there is no {kind}::"{name}"'


def _has(schema: Schema, node: dict[str, Any]) -> Iterator[str]:
    """Yield a problem if the schema has no such attribute.

    Cedar accepts such a `has` and evaluates it to false, so a misspelled attribute would disable a `forbid`.
    """
    try:
        possible = vocabulary.can_have(schema, node["left"], node["attr"])
    except ValueError:
        yield "is nested too deeply"
        return
    if not possible:
        yield f"`has {node['attr']}` is never true: the schema has no such attribute"
