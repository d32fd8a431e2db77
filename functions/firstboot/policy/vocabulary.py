"""The values that Firstboot gives Cedar: entities, request and context.

The compiler checks a fleet's schema against the values of this module, which are those that decisions use.

    Device in [Group]   deviceId: String, quarantined: Bool, claims: { … }, and the operator's attributes
    Group, Grant        without attributes; the id is the name
    Action::"hold"      context: { roleAlias: String, sourceIp?: ipaddr }
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cedarpy import Schema, policies_from_json_str, policies_to_json_str, validate_policies

from firstboot.domain.device import Device

RESERVED = ("deviceId", "claims")
"""Attributes of a Device that Firstboot fills, so that no operator may set them."""

Json = dict[str, Any]


def entities(device: Device) -> list[Json]:
    """Return the entities of the device and its group.

    `quarantined` is always present, so that a rule can use it without `has`.
    """
    filled = {"deviceId": device.device_id, "claims": device.claims}
    attributes = {"quarantined": False, **device.attributes, **filled}
    group = {"type": "Group", "id": device.group}
    return [
        {"uid": {"type": "Device", "id": device.device_id}, "attrs": attributes, "parents": [group]},
        {"uid": group, "attrs": {}, "parents": []},
    ]


def context(role_alias: str | None, source_ip: str | None) -> Json:
    """Return the context of a request.

    `roleAlias` is "" where no credentials are requested. No alias has that name, and a rule can use the
    member without `has`.
    """
    address = {"sourceIp": {"__extn": {"fn": "ip", "arg": source_ip}}} if source_ip is not None else {}
    return {"roleAlias": role_alias or "", **address}


def request(device_id: str, grant: str, context: Json) -> Json:
    """Return the Cedar request that asks whether the device holds the grant in `context`."""
    return {
        "principal": {"type": "Device", "id": device_id},
        "action": {"type": "Action", "id": "hold"},
        "resource": {"type": "Grant", "id": grant},
        "context": context,
    }


def can_have(schema: Schema, expression: Json, attribute: str) -> bool:
    """Return whether the schema allows that `expression` (Cedar JSON) has `attribute`.

    Cedar has no such query, so a rule with a deliberate type error is checked. Cedar's type checker skips the
    rest of an `&&` after a `has` that cannot be true, so it reports the error only if the `has` can be true.
    """
    asked = {"has": {"left": expression, "attr": attribute}}
    error = {"<": {"left": {"Value": 1}, "right": {"Value": True}}}
    rule = {
        "effect": "permit",
        "principal": {"op": "is", "entity_type": "Device"},
        "action": {"op": "==", "entity": {"type": "Action", "id": "hold"}},
        "resource": {"op": "All"},
        "conditions": [{"kind": "when", "body": {"&&": {"left": asked, "right": error}}}],
    }
    document = {"staticPolicies": {"probe": rule}, "templates": {}, "templateLinks": []}
    return not validate_policies(policies_from_json_str(json.dumps(document)), schema)


def policies(rules: str) -> dict[str, Json]:
    """Return the rules of a compiled fleet as Cedar's JSON, by the keys that Cedar's errors name them by."""
    found: dict[str, Json] = json.loads(policies_to_json_str(rules))["staticPolicies"]
    return found


def nodes(value: Any) -> Iterator[Json]:  # noqa: ANN401 - any JSON value
    """Yield every object in Cedar's JSON, each before the objects in it."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
