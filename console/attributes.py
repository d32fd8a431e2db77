"""Attributes of devices as text: `key=value` of a command line, a cell of a CSV file. No input or output."""

from __future__ import annotations

import re

from console import supposed
from firstboot.domain.fleet import Fleet
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.rules import Rules

Value = str | bool | int

_WORDS: dict[type[Value], str] = {str: "text", bool: "true or false", int: "an integer of 64 bits"}
_SAMPLES: tuple[Value, ...] = ("", False, 0)
_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_LONG = range(-(2**63), 2**63)
# The name of a member in a Cedar schema: an identifier or a string, before a colon.
_MEMBER = re.compile(r'(?:([A-Za-z_]\w*)|"([^"\\]+)")\s*\??\s*:', re.ASCII)


def pair(text: str) -> tuple[str, str]:
    """Split `key=value` at the first `=`. The value may be empty.

    Raises ValueError.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is not key=value")
    return key, value


class Attributes:
    """The attributes that an operator can set on a device of `fleet`, and the type of each."""

    def __init__(self, fleet: Fleet) -> None:
        self._rules = Rules(fleet)
        self._schema = fleet.schema
        self._types: dict[str, type[Value] | None] = {}

    def parse(self, name: str, text: str) -> Value:
        """Return the value of the attribute `name` that `text` means.

        Raises ValueError, which names the attribute, its type and what is allowed.
        """
        kind = self._type(name)
        if kind is None:
            raise ValueError(self.unknown(name))
        if kind is str:
            return text
        if kind is bool and text in _BOOLEANS:
            return _BOOLEANS[text]
        if kind is int and _INTEGER.fullmatch(text) and int(text) in _LONG:
            return int(text)
        raise ValueError(f"attribute {name} must be {_WORDS[kind]}, not {text[:80]!a}")

    def parse_claim(self, name: str, text: str) -> Value:
        """Return the value of the claim `name` that `text` means.

        Raises ValueError.
        """
        values: list[Value] = [text, *([_BOOLEANS[text]] if text in _BOOLEANS else [])]
        if _INTEGER.fullmatch(text) and int(text) in _LONG:
            values.append(int(text))
        for value in values:
            if self._rules.fitting_claims(supposed.device("any", claims={name: value})):
                return value
        raise ValueError(f"claim {name[:80]!a} is not in the schema, or can't be {text[:80]!a}")

    def can_set(self, name: str) -> bool:
        """Return whether an operator can set the attribute."""
        return self._type(name) is not None

    def unknown(self, name: str) -> str:
        """Describe an attribute that no operator can set, and those that one can set."""
        found = sorted({first or second for first, second in _MEMBER.findall(self._schema)})
        allowed = [f"{each} ({_WORDS[kind]})" for each in found if (kind := self._type(each))]
        return f"{name[:80]!a} is no attribute that can be set; the schema has {', '.join(allowed) or 'none'}"

    def _type(self, name: str) -> type[Value] | None:
        """Return the type of an attribute, or None if no operator can set it.

        cedarpy does not show the parts of a schema, so a value of each type is tried.
        """
        if name not in self._types:
            fitting = (type(value) for value in _SAMPLES if self._fits(name, value))
            self._types[name] = next(fitting, None)
        return self._types[name]

    def _fits(self, name: str, value: Value) -> bool:
        try:
            self._rules.check_attributes(supposed.device("any", {name: value}))
        except AttributesInvalid:
            return False
        return True
