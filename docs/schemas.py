"""JSON schemas (draft 2020-12) of messages, from their structs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET

from firstboot.runtime.messages import Answer

Json = dict[str, Any]

TIME = {"type": "string", "format": "date-time", "description": "The server's time"}
"""The schema of `time`, which a transport adds to an answer's members."""

_PREFIX = "#/components/schemas/"


def reference(name: str) -> Json:
    """Return a reference to the schema of this name."""
    return {"$ref": _PREFIX + name}


def resolved(schema: Json, schemas: Json) -> Json:
    """Return the schema that a reference names, or the given schema if it is no reference."""
    found: Json = schemas[schema["$ref"].removeprefix(_PREFIX)] if "$ref" in schema else schema
    return found


def of(kinds: Iterable[type[msgspec.Struct]]) -> Json:
    """Return the schemas of structs and of the structs that they refer to, by name."""
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_PREFIX + "{name}")
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    for kind in _answers(Answer):
        if kind.__name__ in schemas:
            schemas[kind.__name__]["required"] = _always(kind)
    return schemas


def timed(schema: Json) -> Json:
    """Return the schema of an answer with the server's time added."""
    properties = schema["properties"] | {"time": TIME}
    return schema | {"properties": properties, "required": [*schema["required"], "time"]}


def _always(kind: type[Answer]) -> list[str]:
    """Return the members that an answer always has. msgspec counts those with a default as optional."""
    return [each.encode_name for each in msgspec.structs.fields(kind) if each.default is not UNSET]


def _answers(kind: type[Answer]) -> Iterable[type[Answer]]:
    for child in kind.__subclasses__():
        yield child
        yield from _answers(child)
