"""The generated tables of docs/protocol.md and docs/operations.md: calls, topics, members, operations."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import msgspec

from docs import calls, schemas
from firstboot.domain import topics
from firstboot.operate.operations import OPERATIONS
from firstboot.runtime.invoke import Operation
from firstboot.runtime.routes import ROUTES, Route

Json = dict[str, Any]

_PROOFS = {
    "none": "none",
    "certificate": "bootstrap certificate to enroll, operational certificate to renew",
    "operational": "operational certificate",
    "dps": "bootstrap certificate, or a shared access signature",
}


def http_calls(page: str) -> str:
    """Return the table of HTTPS calls. A call that has a heading in `page` is a link to it.

    Raises ValueError for a route without an entry in docs/calls.py.
    """
    calls.check()
    rows = [[_linked(route, page), route.summary, _PROOFS[route.proof], _statuses(route)] for route in ROUTES]
    return _table(["call", "purpose", "proof", "answer"], rows)


def mqtt_calls() -> str:
    """Return the table of MQTT topics.

    Raises ValueError for a call without an entry in docs/calls.py.
    """
    calls.check()
    rows = []
    for call in topics.CALLS:
        described = calls.MQTT[call]
        accepted, rejected = call.answer_topics("{clientId}")
        answered = f"`{accepted}` · `…/{rejected.rpartition('/')[2]}`"
        request = f"`{call.request_topic('{clientId}')}`"
        rows.append([request, answered, str(call.answer_qos), described.certificate])
    return _table(["publish to", "answer on", "QoS of the answer", "certificate"], rows)


def members(*kinds: type[msgspec.Struct]) -> str:
    """Return the table of the members of structs. A member of a member is `outer.inner`.

    Raises ValueError for a member without a description.
    """
    found = schemas.of(kinds)
    rows = [row for kind in kinds for row in _member_rows(found[kind.__name__], found)]
    return _table(["member", "value", "meaning"], rows)


def operations() -> str:
    """Return the table of the operator's operations."""
    rows = [
        [f"`{each.name}`", each.summary, _parameters(each), "yes" if each.reads else "no"]
        for each in OPERATIONS
    ]
    return _table(["operation", "purpose", "parameters", "only reads"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _linked(route: Route, page: str) -> str:
    if f"\n### `{route.key}`\n" not in page:
        return f"`{route.key}`"
    anchor = re.sub(r"[^\w\- ]", "", route.key.lower()).replace(" ", "-")
    return f"[`{route.key}`](#{anchor})"


def _statuses(route: Route) -> str:
    call = calls.HTTP[route]
    statuses = [*call.answers, *(status for status in call.texts if status < HTTPStatus.BAD_REQUEST)]
    return ", or ".join(str(int(status)) for status in statuses) or "refused"


def _member_rows(schema: Json, found: Json, within: str = "") -> list[list[str]]:
    rows = []
    for name, member in schema["properties"].items():
        inner = schemas.resolved(member, found)
        if "properties" in inner:
            rows += _member_rows(inner, found, f"{within}{name}.")
            continue
        if "description" not in member:
            raise ValueError(f"{schema['title']}.{name} has no description")
        value = _value(member) + _optional(schema, name, member)
        rows.append([f"`{within}{name}`", value, member["description"]])
    return rows


def _parameters(operation: Operation[Any]) -> str:
    found = schemas.of([operation.parameters])
    schema = found[operation.parameters.__name__]
    return "; ".join(_parameter(schema, name, found) for name in schema["properties"]) or "none"


def _parameter(schema: Json, name: str, found: Json) -> str:
    member = schemas.resolved(schema["properties"][name], found)
    inner = ", ".join(f"`{each}`" for each in member.get("properties", ()))
    return f"`{name}`: {_value(member)}{f' of {inner}' if inner else ''}{_optional(schema, name, member)}"


def _optional(schema: Json, name: str, member: Json) -> str:
    """Return a remark about a member that may be left out, with its default if that is informative."""
    if name in schema["required"]:
        return ""
    default = member.get("default")
    return ", optional" if default in (None, False, {}) else f", optional, default `{default}`"


def _value(schema: Json) -> str:
    """Return a description of the values that a schema accepts."""
    if "anyOf" in schema:
        return " or ".join(_value(each) for each in schema["anyOf"] if each != {"type": "null"})
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("format") == "date-time":
        return "time"
    if schema["type"] == "array":
        return f"list of {_value(schema['items'])}s"
    kind: str = schema["type"]
    low, high = _bounds(schema)
    if high is None or "pattern" in schema:
        return kind
    span = f"{low:,} to {high:,}" if low else f"at most {high:,}"
    return f"{kind}, {span}{_UNITS.get(kind, '')}"


_UNITS = {"object": " entries", "string": " characters"}


def _bounds(schema: Json) -> tuple[int, int | None]:
    """Return the least and the greatest number, length or count. The greatest is None if there is none."""
    for low, high in (("minimum", "maximum"), ("minLength", "maxLength"), ("minProperties", "maxProperties")):
        if high in schema:
            return schema.get(low, 0), schema[high]
    return 0, None
