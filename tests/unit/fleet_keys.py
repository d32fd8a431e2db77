"""Fleet definitions made from the declared keys: random ones, and ones with values at the borders."""

from __future__ import annotations

import math
import string
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce, singledispatch
from typing import Any

from hypothesis import strategies as st

from firstboot.compiler.keys import ROOT
from firstboot.compiler.kinds import (
    Boolean,
    Choice,
    Document,
    Fraction,
    HttpsUrl,
    Integer,
    Json,
    Kind,
    LastDay,
)
from firstboot.compiler.lists import Choices, Names, Strings
from firstboot.compiler.table import REQUIRED, Key, Record, Tables
from firstboot.compiler.texts import Pattern, Space, Text
from firstboot.domain.patterns import LONGEST

NAME = "name"
"""The name of every table in `at`."""


@dataclass(frozen=True)
class Place:
    """A declared key and the path to it."""

    path: tuple[str, ...]
    key: Key

    def __str__(self) -> str:
        return ".".join(self.path)


def places(record: Record[Any] = ROOT, path: tuple[str, ...] = ()) -> Iterator[Place]:
    """Yield every key of a definition, those of inner tables as well."""
    for key in record.keys:
        here = (*path, key.name)
        yield Place(here, key)
        if isinstance(key.kind, Tables):
            yield from places(key.kind.record, (*here, NAME))
        elif isinstance(key.kind, Record):
            yield from places(key.kind, here)


def at(place: Place, value: object) -> Json:
    """Return a definition with the value at a place, and otherwise only the required keys."""
    definition = least(ROOT)
    table, record = definition, ROOT
    for name in place.path[:-1]:
        kind = next((key.kind for key in record.keys if key.name == name), None)
        record = kind if isinstance(kind, Record) else kind.record if isinstance(kind, Tables) else record
        default = least(record) if name == NAME or isinstance(kind, Record) else {}
        table = table.setdefault(name, default)
    if record.shared_if == (place.path[-1], value):
        table |= least(record, shared=True)
    table[place.path[-1]] = value
    return definition


def least(record: Record[Any], *, shared: bool = False) -> Json:
    """Return a table that has the required keys only."""
    kinds = {key.name: key.kind for key in record.keys if key.default_in(shared=shared) is REQUIRED}
    return {
        name: least(kind, shared=shared) if isinstance(kind, Record) else accepted(kind)[0]
        for name, kind in kinds.items()
    }


def accepted(kind: Kind) -> list[Any]:
    """Return values that a kind accepts, those at its borders among them."""
    return _borders(kind)[0]


def refused(kind: Kind) -> list[Any]:
    """Return values that a kind refuses, those just beyond its borders among them."""
    return _borders(kind)[1]


Borders = tuple[list[Any], list[Any]]


@singledispatch
def _borders(kind: Kind) -> Borders:
    raise TypeError(kind)


@_borders.register
def _(kind: Integer) -> Borders:
    return [kind.low, kind.high], [kind.low - 1, kind.high + 1, True, float(kind.low), str(kind.low)]


@_borders.register
def _(_: Boolean) -> Borders:
    return [True, False], [0, "true", None]


@_borders.register
def _(_: Fraction) -> Borders:
    return [math.nextafter(0, 1), math.nextafter(1, 0)], [0.0, 1.0, math.nan, 0, "0.5"]


@_borders.register
def _(kind: Choice) -> Borders:
    return list(kind.options), ["", kind.options[0] + "x", list(kind.options), True]


@_borders.register
def _(kind: Choices) -> Borders:
    first, *_ = kind.options
    return [[first], list(kind.options)], [[], [first, first], [*kind.options, "x"], first, [[]]]


@_borders.register
def _(kind: Names) -> Borders:
    most = [f"n{number}" for number in range(kind.most)]
    return [[], ["aa", "bb"], most], [["aa", "aa"], ["*"], "aa", [1], [*most, "aa"]]


@_borders.register
def _(kind: Text) -> Borders:
    return ["", "x", "x" * kind.most], [1, "a\n", "x" * (kind.most + 1)]


@_borders.register
def _(_: Space) -> Borders:
    return ["*", "gw-*", "*-gw", "a:*", "a*" + "b" * 62], ["", "**", "gw/*", "gw-?", "a*" + "b" * 63, 1]


@_borders.register
def _(_: Pattern) -> Borders:
    longest = f"({'a' * (LONGEST - 2)})"
    return ["(.+)", "sn([0-9a-f]{18})", longest], [
        "(a",
        "ab",
        "(a)(b)",
        r"(a)\1",
        "(?=a)(b)",
        longest + "a",
        1,
    ]


@_borders.register
def _(kind: Strings) -> Borders:
    good, bad = [["a"], ["a", "b"]], ["a", [1], ["a", 1]]
    return (good, [[], *bad]) if kind.least else ([*good, []], bad)


@_borders.register
def _(kind: HttpsUrl) -> Borders:
    longest = "https://a/".ljust(kind.longest, "a")
    return ["https://a", longest], ["http://a", "https://", longest + "a", 1]


@_borders.register
def _(_: LastDay) -> Borders:
    return [date(2028, 1, 1), date.max], ["2028-01-01", datetime(2028, 1, 1, tzinfo=UTC)]


@_borders.register
def _(kind: Document) -> Borders:
    largest = {"a": "x" * (kind.size - len('{"a":""}'))}
    larger = {"a": largest["a"] + "x"}
    return [{}, _deep(kind.levels), largest], [[], _deep(kind.levels + 1), larger]


@_borders.register
def _(kind: Tables) -> Borders:
    table = least(kind.record)
    wrong = [1, {"": table}, {NAME: 1}]
    return ([{NAME: table}], [*wrong, {}]) if kind.least else ([{NAME: table}, {}], wrong)


@_borders.register(Record)
def _(kind: Record[Any]) -> Borders:
    return [least(kind), least(kind, shared=True)], [1, {"unknown": 1}]


def _deep(levels: int) -> Json:
    return reduce(lambda inner, _: {"a": inner}, range(levels), {})


def definitions() -> st.SearchStrategy[Json]:
    """Draw a definition in which each table by itself is valid."""
    return _tables(ROOT, shared=False)


def _tables(record: Record[Any], *, shared: bool) -> st.SearchStrategy[Json]:
    """Draw a table of a record, with every required key and any of the others."""
    if record.shared_if and not shared:
        name, value = record.shared_if
        alone = _tables(record, shared=True).map(lambda table: table | {name: value})
        return alone | _members(record, shared=False).filter(lambda table: table.get(name) != value)
    return _members(record, shared=shared)


def _members(record: Record[Any], *, shared: bool) -> st.SearchStrategy[Json]:
    values = {key.name: _values(key.kind, shared=shared) for key in record.keys}
    needed = {key.name for key in record.keys if key.default_in(shared=shared) is REQUIRED}
    optional = {name: value for name, value in values.items() if name not in needed}
    return st.fixed_dictionaries({name: values[name] for name in needed}, optional=optional)


_WORDS = st.text(string.ascii_letters, min_size=1, max_size=8)
_JSON = st.dictionaries(_WORDS, st.booleans() | st.integers(-9, 9) | _WORDS | st.lists(_WORDS), max_size=3)


@singledispatch
def _values(kind: Kind, *, shared: bool) -> st.SearchStrategy[Any]:
    """Draw a value that the kind accepts."""
    return st.sampled_from(accepted(kind))


@_values.register
def _(kind: Integer, **_: bool) -> st.SearchStrategy[int]:
    return st.integers(kind.low, kind.high)


@_values.register
def _(_: Fraction, **__: bool) -> st.SearchStrategy[float]:
    return st.floats(0, 1, exclude_min=True, exclude_max=True)


@_values.register
def _(kind: Choices, **_: bool) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(kind.options), min_size=1, unique=True)


@_values.register
def _(_: Strings, **__: bool) -> st.SearchStrategy[list[str]]:
    return st.lists(_WORDS, min_size=1, max_size=3)


@_values.register
def _(_: HttpsUrl, **__: bool) -> st.SearchStrategy[str]:
    return _WORDS.map("https://{}.example".format)


@_values.register
def _(_: LastDay, **__: bool) -> st.SearchStrategy[date]:
    return st.dates(min_value=date(1970, 1, 2))


@_values.register
def _(_: Document, **__: bool) -> st.SearchStrategy[Json]:
    return _JSON


@_values.register
def _(kind: Tables, **_: bool) -> st.SearchStrategy[Json]:
    return st.dictionaries(_WORDS, _tables(kind.record, shared=False), min_size=kind.least, max_size=3)


@_values.register(Record)
def _(kind: Record[Any], *, shared: bool) -> st.SearchStrategy[Json]:
    return _tables(kind, shared=shared)
