"""Find grants that are safe alone but not together.

One grant has a fixed word in the place where another has the device id, and a device may have that word as
its id. With `b/{deviceId}/*` and `b/fleet/{deviceId}/x`, a device with the id `fleet` would have the `x` of
all devices.
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
"""A grant's name, the condition key that the text belongs to ("" for a resource), and the text."""


def check(fleet: Fleet) -> list[str]:
    """Return a problem for each pair of grants that gives one device what belongs to others.

    Each grant must have passed the check of `templates`.
    """
    texts = list(_texts(fleet))
    return [
        f"grants/{one[0]}.json: {one[2]!r} gives a device with the id {name!r} what {other[2]!r} in"
        f" grants/{other[0]}.json gives other devices; let the two begin differently"
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
    """Return the id of a device to which `one` gives what `other` gives other devices; None if there is none.

    After a wildcard nothing is compared, so a harmless pair may be refused, but no harmful one is accepted.
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
        # A region, an account and a partition can all be device ids.
        names.device_id(_VARIABLE.sub("xx", text))
    except DeviceIdInvalid:
        return False
    return True


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern for everything that `text` matches for any device."""
    pattern = re.escape(text).replace(re.escape(DEVICE), _ID)
    return re.compile(pattern.replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
