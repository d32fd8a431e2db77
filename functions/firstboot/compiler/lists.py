"""The kinds of value in `fleet.toml` that are lists of strings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from firstboot.compiler.kinds import Plain, Toml, Value


class _List(Plain):
    """A list, which the model holds as a tuple."""

    stand_in: ClassVar[tuple[str, ...]] = ()

    def parse(self, value: Toml) -> tuple[str, ...]:
        """Convert a list to a tuple."""
        return tuple(value)

    def write(self, value: Value) -> list[str]:
        """Convert a tuple to a list."""
        return list(value)


@dataclass(frozen=True)
class Strings(_List):
    """A list of strings, which has `least` or more."""

    least: int = 1

    @property
    def text(self) -> str:
        """Return a description with the least length."""
        return "a list of one or more strings" if self.least else "a list of strings"

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is such a list."""
        if not isinstance(value, list) or len(value) < self.least:
            return False
        return all(isinstance(item, str) for item in value)


@dataclass(frozen=True)
class Names(_List):
    """A list of at most `most` names, each once. The whole of each name matches `pattern`."""

    pattern: re.Pattern[str]
    most: int

    @property
    def text(self) -> str:
        """Return a description with the pattern."""
        return f"a list of at most {self.most} names, each once and matching {self.pattern.pattern}"

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is such a list."""
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return False
        return all(map(self.pattern.fullmatch, value)) and len(set(value)) == len(value) <= self.most


@dataclass(frozen=True)
class Choices(_List):
    """A list of one or more of `options`, each at most once."""

    options: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return a description with the options."""
        return f"a list of one or more of {', '.join(self.options)}, each once"

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is such a list."""
        if not isinstance(value, list) or not value:
            return False
        return all(item in self.options for item in value) and len(set(value)) == len(value)
