"""The kinds of value in `fleet.toml`: which values each kind accepts, and how it reads and writes them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

from firstboot.domain.plans import end_of_day
from firstboot.policy.render import compact

Json = dict[str, Any]
Toml = Any
"""A value as a TOML parser returns it."""
Value = Any
"""A value as the fleet model holds it."""

_EXACT = 2**53
"""Every JSON reader holds whole numbers below this exactly (RFC 8259 section 6)."""


@dataclass(frozen=True)
class Reading:
    """The state while a file is read: its problems so far, and whether the current group is shared."""

    file: str
    problems: list[str]
    shared: bool = False

    def problem(self, path: str, text: str) -> None:
        """Add a problem with the value at `path`."""
        self.problems.append(f"{self.file}: {path} {text}")


class Kind(ABC):
    """A kind of value."""

    @property
    @abstractmethod
    def text(self) -> str:
        """Return a description of the allowed values that can follow "must be"."""

    @property
    @abstractmethod
    def stand_in(self) -> Value:
        """Return a value of the model's type that takes the place of a wrong or missing one."""

    @abstractmethod
    def read(self, path: str, value: Toml, reading: Reading) -> Value:
        """Convert a TOML value to the model's value.

        If the value is wrong, add a problem to `reading` and return the stand-in, so that one run finds every
        problem.
        """

    def write(self, value: Value) -> Toml:
        """Return the TOML value that `read` converts to `value`."""
        return value


class Plain(Kind):
    """A kind whose values are accepted or refused as a whole."""

    @abstractmethod
    def accepts(self, value: Toml) -> bool:
        """Return whether a TOML value is allowed."""

    def parse(self, value: Toml) -> Value:
        """Convert an accepted TOML value to the model's value."""
        return value

    def read(self, path: str, value: Toml, reading: Reading) -> Value:
        """Convert a TOML value to the model's value; see Kind."""
        if self.accepts(value):
            return self.parse(value)
        reading.problem(path, f"must be {self.text}, is {value!r}")
        return self.stand_in


@dataclass(frozen=True)
class Integer(Plain):
    """A whole number from `low` to `high`. `reason` is added to the error text."""

    low: int
    high: int
    reason: str = ""

    @property
    def text(self) -> str:
        """Return a description with both ends of the range."""
        reason = f" ({self.reason})" if self.reason else ""
        return f"a whole number from {self.low:,} to {self.high:,}{reason}"

    @property
    def stand_in(self) -> int:
        """Return the smallest number."""
        return self.low

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is in range. A boolean is refused, though it is an integer in Python."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True)
class Boolean(Plain):
    """`true` or `false`."""

    text: ClassVar[str] = "true or false"
    stand_in: ClassVar[bool] = False

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is a Boolean."""
        return isinstance(value, bool)


@dataclass(frozen=True)
class Fraction(Plain):
    """A number above 0 and below 1."""

    text: ClassVar[str] = "a number above 0 and below 1"
    stand_in: ClassVar[float] = 0.5

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is a float between the ends."""
        return isinstance(value, float) and 0 < value < 1


@dataclass(frozen=True)
class Choice(Plain):
    """One of `options`."""

    options: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return a description with the options."""
        return " or ".join(map(repr, self.options))

    @property
    def stand_in(self) -> str:
        """Return the first option."""
        return self.options[0]

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is an option."""
        return value in self.options


@dataclass(frozen=True)
class HttpsUrl(Plain):
    """An https URL of ASCII characters, with a host and without user, fragment and white space."""

    text: ClassVar[str] = "an https URL, without user or fragment"
    stand_in: ClassVar[str] = ""
    longest: ClassVar[int] = 512

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is such a URL, of 512 characters at most."""
        if not isinstance(value, str) or len(value) > self.longest or not value.isascii():
            return False
        if not value.isprintable() or set(value) & set("@# "):
            return False
        try:
            parts = urlsplit(value)
            _ = parts.port  # Raises ValueError unless the port is a number up to 65,535.
        except ValueError:
            return False
        return parts.scheme == "https" and bool(parts.hostname)


@dataclass(frozen=True)
class LastDay(Plain):
    """A date without a time. The model holds the end of that day in UTC."""

    text: ClassVar[str] = "a date, as in 2028-01-01"

    @property
    def stand_in(self) -> datetime:
        """Return the end of the last day that a Python date can hold."""
        return end_of_day(date.max)

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is a TOML local date."""
        return isinstance(value, date) and not isinstance(value, datetime)

    def parse(self, value: Toml) -> datetime:
        """Return the end of the day: "until 2028-01-01" includes that day."""
        return end_of_day(value)

    def write(self, value: Value) -> date:
        """Return the day that ends at `value`."""
        day: datetime = value - timedelta(seconds=1)
        return day.date()


@dataclass(frozen=True)
class Document(Kind):
    """A table that can be written as JSON.

    Tables and lists are nested at most `levels` deep, an item of a list being one level below its list. As
    compact ASCII JSON the table has at most `size` bytes.
    """

    levels: int
    size: int
    stand_in: ClassVar[Json] = {}

    @property
    def text(self) -> str:
        """Return a description with both limits."""
        return (
            f"a table of JSON values, at most {self.levels} levels deep and {self.size:,} bytes long as JSON"
        )

    def read(self, path: str, value: Toml, reading: Reading) -> Json:
        """Return the table unchanged. Problems name the paths of its members."""
        if not isinstance(value, dict):
            reading.problem(path, "must be a table")
            return {}
        before = len(reading.problems)
        self._check(path, value, self.levels, reading)
        if len(reading.problems) == before and (size := len(compact(value))) > self.size:
            reading.problem(path, f"must have at most {self.size:,} bytes as JSON, has {size:,}")
        return value

    def _check(self, path: str, value: Json | list[Any], levels: int, reading: Reading) -> None:
        if value and not levels:
            reading.problem(path, "is nested too deeply")
            return
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for name, member in members:
            if isinstance(name, str) and not (name and name.isprintable()):
                reading.problem(path, f"has a name that is empty or not printable: {name!r}")
            if isinstance(member, dict | list):
                self._check(f"{path}.{name}", member, levels - 1, reading)
            elif problem := _not_json(member):
                reading.problem(f"{path}.{name}", problem)


def _not_json(value: Toml) -> str | None:
    match value:
        case bool():
            return None
        case str():
            return None if value.isprintable() else "must be printable text"
        case int():
            return None if abs(value) < _EXACT else "is a whole number that some JSON readers cannot hold"
        case float():
            return None if math.isfinite(value) else "must be a finite number"
        case _:
            return f"must be a string, a number, a boolean, a list or a table, is {value!r}"
