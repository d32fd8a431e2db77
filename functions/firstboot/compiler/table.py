"""Strict reading of a TOML table: a key nobody asked for is a mistake, not a comment."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

Choice = TypeVar("Choice", bound=str)
_MISSING = object()
_LONGEST_URL = 512
_EXACT = 2**53
"""Whole numbers below this are the same in every JSON reader (RFC 8259 section 6)."""


class Table:
    """A TOML table. Each method takes one key out, notes a problem if it is missing or wrong, and
    then returns a stand-in, so that one reading finds every problem.
    """

    def __init__(self, where: str, value: object, problems: list[str]) -> None:
        self._where = where
        self._problems = problems
        if not isinstance(value, dict):
            self._problem("", "must be a table")
        self._rest: dict[str, Any] = dict(value) if isinstance(value, dict) else {}

    def __contains__(self, key: str) -> bool:
        return key in self._rest

    def integer(self, key: str, low: int, high: int, default: int | None = None, *, why: str = "") -> int:
        """A whole number from `low` to `high`; `why` is added to the complaint."""
        value = self._take(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self._wrong(key, value, f"must be a whole number from {low} to {high}{why}")
        return low

    def fraction(self, key: str, default: float) -> float:
        """A number above 0 and below 1."""
        value = self._take(key, default)
        if isinstance(value, float) and 0 < value < 1:
            return value
        self._wrong(key, value, "must be a number above 0 and below 1")
        return default

    def choice(self, key: str, options: tuple[Choice, ...], default: Choice) -> Choice:
        """One of `options`."""
        value = self._take(key, default)
        for option in options:
            if value == option:
                return option
        self._wrong(key, value, f"must be {' or '.join(map(repr, options))}")
        return default

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of one or more strings."""
        value = self._take(key)
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return tuple(value)
        self._wrong(key, value, "must be a list of one or more strings")
        return ()

    def choices(self, key: str, options: tuple[Choice, ...]) -> tuple[Choice, ...]:
        """A list of one or more of `options`, each once."""
        value = self._take(key)
        if isinstance(value, list) and value:
            chosen = tuple(option for item in value for option in options if item == option)
            if len(set(chosen)) == len(value):
                return chosen
        self._wrong(key, value, f"must be a list of one or more of {', '.join(options)}, each once")
        return ()

    def url(self, key: str) -> str:
        """An https URL with a host, and neither user, fragment nor white space."""
        value = self._take(key)
        if isinstance(value, str) and _is_https(value):
            return value
        self._wrong(key, value, "must be an https URL, without user or fragment")
        return ""

    def day(self, key: str) -> date:
        """A date without a time."""
        value = self._take(key)
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        self._wrong(key, value, "must be a date, as in 2028-01-01")
        return date.max

    def document(self, key: str, levels: int, size: int) -> dict[str, Any]:
        """A table that is JSON as it stands, with names at most `levels` deep (an item of a list is
        one deeper than its list); as compact ASCII JSON it has at most `size` bytes. An empty one if
        there is none.
        """
        value = self._rest.pop(key, {})
        if not isinstance(value, dict):
            self._problem(key, "must be a table")
            return {}
        before = len(self._problems)
        self._check_members(self._path(key), value, levels)
        if len(self._problems) == before and (bytes_ := len(compact(value))) > size:
            self._problem(key, f"must have at most {size} bytes as JSON, has {bytes_}")
        return value

    def _check_members(self, path: str, value: dict[str, Any] | list[Any], levels: int) -> None:
        if value and not levels:
            self._problems.append(f"{path} is nested too deep")
            return
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for name, member in members:
            below = f"{path}.{name}"
            if isinstance(name, str) and not (name and name.isprintable()):
                self._problems.append(f"{path} has a name that is empty or not printable: {name!r}")
            if isinstance(member, dict | list):
                self._check_members(below, member, levels - 1)
            elif problem := _not_json(member):
                self._problems.append(f"{below} {problem}")

    def table(self, key: str) -> Table:
        """The table under `key`; an empty one if there is none."""
        return Table(self._path(key), self._rest.pop(key, {}), self._problems)

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Every key of this table, as a table by that name."""
        while self._rest:
            name = next(iter(self._rest))
            yield name, self.table(name)

    def close(self) -> None:
        """Note every key that has not been taken."""
        for key in self._rest:
            self._problem(key, "is not a key of a fleet definition")

    def _take(self, key: str, default: object = None) -> Any:  # noqa: ANN401 - whatever TOML holds
        return self._rest.pop(key, _MISSING if default is None else default)

    def _wrong(self, key: str, value: object, text: str) -> None:
        self._problem(key, "is missing: it " + text if value is _MISSING else f"{text}, is {value!r}")

    def _problem(self, key: str, text: str) -> None:
        self._problems.append(f"{self._path(key)} {text}")

    def _path(self, key: str) -> str:
        return f"{self._where}.{key}" if key and not self._where.endswith(" ") else f"{self._where}{key}"


def compact(value: dict[str, Any]) -> str:
    """`value` as the shortest ASCII JSON."""
    return json.dumps(value, separators=(",", ":"))


def _not_json(value: object) -> str | None:
    match value:
        case bool():
            return None
        case str():
            return None if value.isprintable() else "must be printable text"
        case int():
            return None if abs(value) < _EXACT else "is a whole number that few JSON readers can hold"
        case float():
            return None if math.isfinite(value) else "must be a finite number"
        case _:
            return f"must be a string, a number, a boolean, a list or a table, is {value!r}"


def _is_https(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for one that is no port
    except ValueError:
        return False
    plain = len(text) <= _LONGEST_URL and text.isascii() and text.isprintable() and " " not in text
    return plain and parts.scheme == "https" and bool(parts.hostname) and not set(text) & set("@#")
