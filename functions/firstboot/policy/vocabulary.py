"""What Firstboot tells Cedar: the entities, the request and its context. One place, so that the
compiler checks a schema against the very values a decision will be made on.

    Device in [Group]   deviceId: String, quarantined: Bool, claims: { … }, and the operator's attributes
    Group, Grant        their names
    Action::"hold"      context: { roleAlias: String, sourceIp?: ipaddr }
"""

from __future__ import annotations

import json
from typing import Any

from cedarpy import Schema, policies_from_json_str, validate_policies

from firstboot.domain.device import Device

RESERVED = ("deviceId", "claims")
"""Attributes of a Device that no operator sets."""

Json = dict[str, Any]


def entities(device: Device) -> list[Json]:
    """The device and its group. `quarantined` is always there, so that a rule need not ask."""
    filled = {"deviceId": device.device_id, "claims": device.claims}
    attributes = {"quarantined": False, **device.attributes, **filled}
    group = {"type": "Group", "id": device.group}
    return [
        {"uid": {"type": "Device", "id": device.device_id}, "attrs": attributes, "parents": [group]},
        {"uid": group, "attrs": {}, "parents": []},
    ]


def context(role_alias: str | None, source_ip: str | None) -> Json:
    """A request's context. `roleAlias` is "" where no credentials are asked for: no alias has that
    name, and a rule need not ask first.
    """
    address = {"sourceIp": {"__extn": {"fn": "ip", "arg": source_ip}}} if source_ip is not None else {}
    return {"roleAlias": role_alias or "", **address}


def request(device_id: str, grant: str, context: Json) -> Json:
    """Return the question whether the device holds the grant in `context`."""
    return {
        "principal": {"type": "Device", "id": device_id},
        "action": {"type": "Action", "id": "hold"},
        "resource": {"type": "Grant", "id": grant},
        "context": context,
    }


def can_have(schema: Schema, expression: Json, attribute: str) -> bool:
    """True unless the schema rules out that `expression` (Cedar JSON) has `attribute`.

    Cedar tells it only by type checking: after a `has` that can't be true it skips the rest of an
    `&&`, so that this rule's type error shows if and only if the `has` can be true.
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
