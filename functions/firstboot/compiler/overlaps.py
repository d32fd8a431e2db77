"""Find grants that are safe alone but not together.

One grant has a fixed word in the place where another has the device id, and a device may have that word as
its id:

- With `b/{deviceId}/*` and `b/fleet/{deviceId}/x`, a device with the id `fleet` would have the `x` of all
  devices.
- With `b/{deviceId}/*` and `b/stable/*`, a device with the id `stable` would have what all devices share. If
  it may write below its id, it writes what the others read.

The key `reserved` of fleet.toml keeps the second kind of word from being an id. A wildcard in that place
can't be cured: `b/*` has what every device has below its id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from firstboot.compiler.globs import meet
from firstboot.domain import names
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.fleet import Fleet
from firstboot.policy.render import DEVICE, listed

_SEGMENT = re.compile(r"[^/:#=]*")
_VARIABLE = re.compile(r"\{\w+\}", re.ASCII)
_FILTER = re.compile(r"arn:[^:]+:iot:[^:]+:[^:]+:topicfilter/", re.ASCII)
_NAMES = re.compile(r"(String|Arn)(Equals|Like)")
"""The operators whose values name what a request is about. Others compare numbers, times and addresses."""

_ANY = "*"


@dataclass(frozen=True)
class _Text:
    """A text of an Allow: a resource, or the value of the condition key `key` ("" for a resource).

    `services` are those of the statement's actions, and `resources` its resources.
    """

    grant: str
    key: str
    text: str
    services: frozenset[str]
    resources: tuple[str, ...]

    def is_beside(self, other: _Text) -> bool:
        """Return whether a request could be about both texts, as far as the rest of the statements says."""
        if self.key != other.key or self.services.isdisjoint(other.services):
            return False
        return not self.key or any(
            meet(_glob(one), _glob(two)) for one, two in product(self.resources, other.resources)
        )


def check(fleet: Fleet) -> list[str]:
    """Return a problem for each pair of grants that gives one device what belongs to others, or to all.

    Each grant must have passed the check of `templates`.
    """
    texts = list(_texts(fleet))
    own = [each for each in texts if DEVICE in each.text]
    shared = [each for each in texts if DEVICE not in each.text]
    return list(_between_devices(own)) + list(_with_shared(own, shared, frozenset(fleet.reserved)))


def _between_devices(own: Iterable[_Text]) -> Iterator[str]:
    for one, other in product(own, repeat=2):
        if one.key == other.key and (name := _intruder(one.text, other.text)):
            yield (
                f"grants/{one.grant}.json: {one.text!r} gives a device with the id {name!r} what"
                f" {other.text!r} in grants/{other.grant}.json gives other devices; let the two begin"
                " differently"
            )


def _with_shared(own: Iterable[_Text], shared: Iterable[_Text], reserved: frozenset[str]) -> Iterator[str]:
    for one, other in product(own, shared):
        if not one.is_beside(other) or (name := _common(one.text, other.text)) is None or name in reserved:
            continue
        start = f"grants/{one.grant}.json: {one.text!r} gives "
        end = f" what {other.text!r} in grants/{other.grant}.json gives every device that holds that grant; "
        if name == _ANY:
            yield f"{start}each device a part of{end}let the two begin differently"
        else:
            yield (
                f"{start}a device with the id {name!r}{end}add {name!r} to `reserved` in fleet.toml, or let"
                " the two begin differently"
            )


def _texts(fleet: Fleet) -> Iterator[_Text]:
    for grant, document in sorted(fleet.grants.items()):
        for statement in document["Statement"]:
            if statement["Effect"] != "Allow":
                continue
            services = frozenset(action.partition(":")[0] for action in listed(statement["Action"]))
            resources = tuple(listed(statement["Resource"]))
            found = _Text(grant, "", "", services, resources)
            yield from (replace(found, text=text) for text in resources)
            for operator, keys in statement.get("Condition", {}).items():
                for key, value in keys.items() if _NAMES.search(operator) else ():
                    yield from (replace(found, key=key.lower(), text=text) for text in listed(value))


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


def _common(one: str, other: str) -> str | None:
    """Return the id with which `one` gives a device what `other`, a text without an id, gives.

    `*` stands for many ids, None for none.
    """
    before, shared = one.partition(DEVICE)[0], _glob(other)
    literal = re.split(r"[*?]", shared, maxsplit=1)[0]
    if literal.startswith(before) and (segment := _SEGMENT.match(literal, len(before))):
        name = segment[0]
        # The literal part ends within the segment: a wildcard takes the rest of the id's place.
        if segment.end() == len(literal) < len(shared):
            begins = re.fullmatch(rf"({names.ID_CHARACTERS}|\{{\w+\}})*", name) is not None
            return _ANY if begins and meet(_glob(one), shared) else None
        is_common = _is_name(name) and meet(_glob(one.replace(DEVICE, name)), shared)
        return name if is_common else None
    return _ANY if before.startswith(literal) and literal != shared and meet(_glob(one), shared) else None


def _glob(text: str) -> str:
    """Return a text as a pattern, with `*` for the id and for the wildcards of an MQTT topic filter."""
    if _FILTER.match(text):
        text = text.replace("+", "*").replace("#", "*")
    return text.replace(DEVICE, "*")


def _is_name(text: str) -> bool:
    try:
        # A region, an account and a partition can all be device ids.
        names.device_id(_VARIABLE.sub("xx", text))
    except DeviceIdInvalid:
        return False
    return True


def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern for everything that `text` matches for any device."""
    pattern = re.escape(text).replace(re.escape(DEVICE), f"{names.ID_CHARACTERS}{{2,}}")
    return re.compile(pattern.replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
