"""Grants that are safe each alone, but not beside one another: where one has a word in its path, the
other has the device's id, and a device may be named like the word.

With `b/{deviceId}/*` and `b/fleet/{deviceId}/x`, a device named `fleet` would have all devices' `x`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from firstboot.domain import names
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.fleet import Fleet
from firstboot.policy.render import DEVICE, listed

_SEGMENT = re.compile(r"[^/:#=]*")
_ID = "[A-Za-z0-9_.-]{2,}"
_VARIABLE = re.compile(r"\{\w+\}", re.ASCII)

Text = tuple[str, str, str]
"""A grant's name, what the text is compared with ("" is the resource), and the text."""


def check(fleet: Fleet) -> list[str]:
    """Which of the fleet's grants, each checked alone, reach into one another."""
    texts = list(_texts(fleet))
    return [
        f"grants/{one[0]}.json: {one[2]!r} gives a device named {name!r} what {other[2]!r} in"
        f" grants/{other[0]}.json gives others; let them begin differently"
        for one, other in product(texts, repeat=2)
        if one[1] == other[1] and (name := _intruder(one[2], other[2]))
    ]


def _texts(fleet: Fleet) -> Iterator[Text]:
    for grant, document in sorted(fleet.grants.items()):
        for statement in document["Statement"]:
            if statement["Effect"] != "Allow":
                continue
            yield from ((grant, "", text) for text in listed(statement["Resource"]) if DEVICE in text)
            for keys in statement.get("Condition", {}).values():
                for key, value in keys.items():
                    yield from ((grant, key.lower(), text) for text in listed(value) if DEVICE in text)


def _intruder(one: str, other: str) -> str | None:
    """The name of a device that `one` gives what `other` gives others; None if there is none.

    On the safe side: behind a wildcard, no more is compared.
    """
    before, start = one.partition(DEVICE)[0], other.partition(DEVICE)[0]
    if start == before or not start.startswith(before):
        return None
    segment = _SEGMENT.match(start, len(before))
    name = segment[0] if segment else ""
    if not _is_name(name):
        return None
    reached = one.replace(DEVICE, name)
    literal = re.split(r"[*?]", reached, maxsplit=1)[0]
    if literal == reached:
        return name if _pattern(other).fullmatch(reached) else None
    return name if literal.startswith(start) or start.startswith(literal) else None


def _is_name(text: str) -> bool:
    try:
        # A region, an account and a partition can all be names of devices.
        names.device_id(_VARIABLE.sub("xx", text))
    except DeviceIdInvalid:
        return False
    return True


def _pattern(text: str) -> re.Pattern[str]:
    """What `text` matches for any device."""
    pattern = re.escape(text).replace(re.escape(DEVICE), _ID)
    return re.compile(pattern.replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
