"""Define fuzz targets, and how one input is given to a target."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A parser, the errors it may raise, and inputs to start from."""

    run: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    seeds: Callable[[], Iterator[bytes]]


def run(target: Target, data: bytes) -> None:
    """Give one input to a target. Raises what the target may not raise."""
    try:
        target.run(data)
    except target.errors:
        return


def text(data: bytes) -> str:
    """Return the input as text; bytes that are no UTF-8 become lone surrogates, as in JSON's escapes."""
    return data.decode(errors="surrogateescape")


def json_value(data: bytes) -> Any:
    """Return the JSON value in `data`, or null: events are JSON before the product sees them."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def of(*texts: str) -> Callable[[], Iterator[bytes]]:
    """Return seeds."""
    return lambda: (text.encode() for text in texts)
