"""Devices and explanations in words. Pure.

Attributes, claims and policies are shown as JSON in ASCII: claims are the devices' own words, and
must not be able to write to the operator's terminal.
"""

from __future__ import annotations

import json
from typing import Any

from firstboot.policy.limits import SESSION_POLICY

Record = dict[str, Any]

_ROW = "{:<24}  {:<16}  {:<9}  {:<21}  {}"
HEADER = _ROW.format("DEVICE", "GROUP", "STATUS", "CERTIFICATE UNTIL", "ATTRIBUTES")


def row(device: Record) -> str:
    """A device on one line, under HEADER."""
    active = device["active"]
    until = active["notAfter"] if active else "-"
    attributes = json.dumps(device["attributes"], sort_keys=True)
    return _ROW.format(device["deviceId"], device["group"], device["status"], until, attributes)


def device(record: Record) -> list[str]:
    """A device, a line a member."""
    width = max(len(name) for name in record)
    return [f"{name:<{width}}  {_value(value)}" for name, value in record.items()]


def _value(value: object) -> str:
    match value:
        case None:
            return "-"
        case dict() if value:
            return "  ".join(f"{key}={json.dumps(each)}" for key, each in value.items())
        case dict():
            return "-"
        case _:
            return str(value)


def explanation(record: Record) -> list[str]:
    """Describe what a device holds in each request context, and by which rules.

    The contexts are the member `moments` of the answer.
    """
    lines = [f"{record['deviceId']} ({record['status']}, group {record['group']})"]
    for context in record["moments"]:
        alias = context["roleAlias"]
        lines += ["", f"role alias {alias}" if alias else "MQTT (no role alias)", *_holdings(context)]
    return lines


def _holdings(context: Record) -> list[str]:
    lines = [
        *[f"  {held['grant']:<24}  by {', '.join(held['rules'])}" for held in context["grants"]],
        *[f"  {held['grant']:<24}  withheld by {', '.join(held['rules'])}" for held in context["withheld"]],
        *[f"  error: {error!a}" for error in context["errors"]],
    ]
    if context["refusal"]:
        return [*lines, f"  refused, {context['refusal']['code']}: {context['refusal']['detail']}"]
    return lines + _policy(context["sessionPolicy"])


def _policy(document: Record | None) -> list[str]:
    if document is None:
        return []
    size = len(json.dumps(document, separators=(",", ":")))
    text = json.dumps(document, indent=2).splitlines()
    return [
        f"  session policy ({size:,} of {SESSION_POLICY:,} characters)",
        *[f"    {line}" for line in text],
    ]
