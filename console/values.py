"""`key=value` on the command line. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from firstboot.domain import names
from firstboot.domain.clock import EPOCH
from firstboot.domain.device import Device, Status
from firstboot.domain.fleet import Fleet
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.rules import Rules

Value = str | bool | int

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")

_ANY_DEVICE = Device(
    names.device_id("any"),
    group="any",
    status=Status.ENROLLED,
    generation=0,
    enrolled_by="",
    created_at=EPOCH,
    updated_at=EPOCH,
)


def pair(text: str) -> tuple[str, str]:
    """Split `key=value` at the first `=`; the value may be empty.

    Raises ValueError.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is not key=value")
    return key, value


def readings(text: str) -> list[Value]:
    """What a value may mean, the narrowest type first: `true` and `false` are Booleans, decimal
    integers numbers, and everything may be a string.
    """
    if text in {"true", "false"}:
        return [text == "true", text]
    if _INTEGER.fullmatch(text):
        return [int(text), text]
    return [text]


def typed(texts: Mapping[str, str], fits: Callable[[str, Value], bool]) -> dict[str, Value | None]:
    """The values that `texts` mean: the first reading that `fits` the attribute, None for an empty
    text. What fits in no reading stays text, for `operate` to refuse.
    """
    return {name: _typed(name, text, fits) for name, text in texts.items()}


def _typed(name: str, text: str, fits: Callable[[str, Value], bool]) -> Value | None:
    if not text:
        return None
    meanings = readings(text)
    return next((value for value in meanings[:-1] if fits(name, value)), meanings[-1])


def fitting(fleet: Fleet) -> Callable[[str, Value], bool]:
    """Whether an attribute takes a value, by the schema of `fleet`."""
    rules = Rules(fleet)

    def fits(name: str, value: Value) -> bool:
        try:
            rules.check_attributes(replace(_ANY_DEVICE, attributes={name: value}))
        except AttributesInvalid:
            return False
        return True

    return fits
