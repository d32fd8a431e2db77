"""The kinds of value in `fleet.toml` that are texts with a form of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from firstboot.compiler.kinds import Kind, Plain, Reading, Toml
from firstboot.domain import patterns
from firstboot.domain.names import ANY_FLEET

_ANY = f"{ANY_FLEET.character}*"
_SPACE = re.compile(rf"(?=.{{1,64}}\Z){_ANY}\*?{_ANY}", re.ASCII)


@dataclass(frozen=True)
class Text(Plain):
    """A text of at most `most` printable characters; it may be empty."""

    most: int
    stand_in: ClassVar[str] = ""

    @property
    def text(self) -> str:
        """Return a description with the limit."""
        return f"a text of at most {self.most} printable characters"

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is such a text."""
        return isinstance(value, str) and len(value) <= self.most and value.isprintable()


@dataclass(frozen=True)
class Space(Plain):
    """A pattern of device ids: characters of ids, and at most one `*`, which stands for any of them."""

    text: ClassVar[str] = "1 to 64 characters of device ids with one `*` at most, as in 'gw-*'"
    stand_in: ClassVar[str] = "*"

    def accepts(self, value: Toml) -> bool:
        """Return whether the value is such a pattern."""
        # With one `*`, a comparison of both ends decides, and no text takes longer than another.
        return isinstance(value, str) and _SPACE.fullmatch(value) is not None


@dataclass(frozen=True)
class Pattern(Kind):
    """A regular expression of RE2's syntax with exactly one group; see domain/patterns.py."""

    text: ClassVar[str] = (
        f"a regular expression of RE2 with one group, of at most {patterns.LONGEST} characters"
    )
    stand_in: ClassVar[None] = None

    def read(self, path: str, value: Toml, reading: Reading) -> str | None:
        """Return the pattern unchanged. A problem says what RE2 says of it."""
        if not isinstance(value, str) or len(value) > patterns.LONGEST or not value.isprintable():
            reading.problem(path, f"must be {self.text}, is {value!r}")
            return None
        if fault := patterns.fault(value):
            reading.problem(path, f"must be {self.text}, and of {value!r} RE2 says: {fault}")
            return None
        return value
