"""Patterns that take a device's id out of a longer text, in time that is linear in the text's length.

RE2 matches them: it has neither backreferences nor look-around, and never tries a part of the text twice.
Python's `re` would need exponential time for some patterns, and a certificate's sender chooses the text.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

LONGEST = 256
"""Characters of a pattern. One that is longer is not a name's form any more."""

_MEMORY = 1 << 20
"""Bytes that RE2 may use for a pattern; one that needs more does not compile. A maker's takes a few KB."""


def extract(pattern: str, text: str) -> str | None:
    """Return what the one group of `pattern` matched if the pattern matches all of `text`; otherwise None."""
    found = _compiled(pattern).fullmatch(text)
    return found[1] if found else None


def fault(pattern: str) -> str | None:
    """Return what is wrong with a pattern; None if `extract` can use it."""
    try:
        groups = _compiled(pattern).groups
    except ValueError as error:
        return str(error)
    return None if groups == 1 else f"it has {groups} groups"


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:  # noqa: ANN401 - google-re2 has no types
    """Return the compiled pattern. Raises ValueError."""
    # The import takes 7 ms of a cold start, and most fleets have no pattern.
    import re2  # noqa: PLC0415

    options = re2.Options()
    # RE2 writes its own log to standard error, where Lambda would keep lines that are not JSON.
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        (message,) = error.args
        text = message.decode("ascii", "replace") if isinstance(message, bytes) else str(message)
        raise ValueError(text) from error
