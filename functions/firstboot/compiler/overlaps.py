"""Find grants that are safe alone but not together.

One grant has a fixed word in the place where another has the device id, and a device may have that word as
its id:

- With `b/{deviceId}/*` and `b/fleet/{deviceId}/x`, a device with the id `fleet` would have the `x` of all
  devices.
- With `b/{deviceId}/*` and `b/stable/*`, a device with the id `stable` would have what all devices share. If
  it may write below its id, it writes what the others read.

The key `reserved` of fleet.toml keeps such a word from being an id. A wildcard in that place can't be cured:
`b/*` has what every device has below its id. Neither can a statement without a condition that keeps devices
apart in another statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from firstboot.compiler.globs import meet
from firstboot.domain import names
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import IdRule
from firstboot.policy.render import DEVICE, listed

_VARIABLE = re.compile(r"\{\w+\}", re.ASCII)
_FILTER = re.compile(r"arn:[^:]+:iot:[^:]+:[^:]+:topicfilter/", re.ASCII)
_NAMES = re.compile(r"(String|Arn)(Equals|Like)")
"""The operators whose values name what a request is about. Others compare numbers, times and addresses."""

_READS_ITEMS = re.compile(r"dynamodb:(?!Describe|List)")

_ANY = "*"

_VALUES = {
    "{account}": re.compile(r"(?<!\d)\d{12}(?!\d)"),
    "{region}": re.compile(
        r"\b(af|ap|ca|cn|eu|il|me|mx|sa|us)(-gov|-iso[a-z]?)?-(central|(north|south)?(east|west)?)-\d\b"
    ),
}
"""The variables that a resource's name may also have as a value, with what such a value looks like."""

_HEAD = re.compile(r"arn:[^:]*:([^:]*):([^:]*):([^:]*):")


@dataclass(frozen=True)
class _Text:
    """A text of an Allow: a resource, or the value of the condition key `key` ("" for a resource).

    `actions` and `resources` are those of the statement. `bound` are the condition keys that a request must
    have with one of the statement's values, and for each whether all values have the device id.
    """

    grant: str
    key: str
    text: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    bound: dict[str, bool]

    @property
    def services(self) -> set[str]:
        """The services of the actions."""
        return {action.partition(":")[0] for action in self.actions}

    def is_beside(self, other: _Text) -> bool:
        """Return whether a request could be about both texts, as far as the rest of the statements says."""
        if self.key != other.key or self.services.isdisjoint(other.services):
            return False
        return not self.key or any(_meet(*each) for each in product(self.resources, other.resources))

    def is_open_to(self, other: _Text) -> str | None:
        """Return the shared resource with which `other` gives what this condition limits, or None."""
        if self.key in other.bound or any(other.bound.values()) or not self._shares_action(other):
            return None
        shared = (each for each in other.resources if DEVICE not in each)
        return next((each for each in shared if any(_meet(own, each) for own in self.resources)), None)

    def _shares_action(self, other: _Text) -> bool:
        # A scan has what an item's key limits in the other actions.
        items = [any(map(_READS_ITEMS.match, each.actions)) for each in (self, other)]
        return all(items) or any(meet(*each) for each in product(self.actions, other.actions))


def check(fleet: Fleet) -> list[str]:
    """Return a problem for each pair of grants that gives one device what belongs to others, or to all.

    Each grant must have passed the check of `templates`.
    """
    texts = list(_texts(fleet))
    own = [each for each in texts if DEVICE in each.text]
    shared = [each for each in texts if DEVICE not in each.text]
    return [
        *_between_devices(own, fleet.ids),
        *_with_shared(own, shared, fleet.ids),
        *dict.fromkeys(_without_condition(own, texts)),
    ]


def _between_devices(own: Iterable[_Text], rule: IdRule) -> Iterator[str]:
    for one, other in product(own, repeat=2):
        name = _intruder(*_alike(one.text, other.text), rule) if one.key == other.key else None
        if name is None or name in rule.reserved:
            continue
        cure = f", or add {name!r} to `reserved` in fleet.toml" if names.WORD.fullmatch(name) else ""
        yield (
            f"grants/{one.grant}.json: {one.text!r} gives a device with the id {name!r} what"
            f" {other.text!r} in grants/{other.grant}.json gives other devices; let the two begin"
            f" differently{cure}"
        )


def _with_shared(own: Iterable[_Text], shared: Iterable[_Text], rule: IdRule) -> Iterator[str]:
    for one, other in product(own, shared):
        if not one.is_beside(other):
            continue
        name = _common(*_alike(one.text, other.text), rule)
        if name is None or name in rule.reserved:
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


def _without_condition(own: Iterable[_Text], texts: Iterable[_Text]) -> Iterator[str]:
    for one, other in product(own, texts):
        if one.key and not other.key and (resource := one.is_open_to(other)):
            yield (
                f"grants/{other.grant}.json: {resource!r} without a condition on {one.key} gives every device"
                f" what {one.text!r} in grants/{one.grant}.json gives single devices; add the condition"
            )


def _texts(fleet: Fleet) -> Iterator[_Text]:
    for grant, document in sorted(fleet.policies.items()):
        for statement in document["Statement"]:
            if statement["Effect"] != "Allow":
                continue
            actions, resources = (tuple(listed(statement[key])) for key in ("Action", "Resource"))
            found = _Text(grant, "", "", actions, resources, _bound(statement.get("Condition", {})))
            yield from (replace(found, text=text) for text in resources)
            for operator, keys in statement.get("Condition", {}).items():
                for key, value in keys.items() if _NAMES.search(operator) else ():
                    yield from (replace(found, key=key.lower(), text=text) for text in listed(value))


def _bound(condition: dict[str, dict[str, str | list[str]]]) -> dict[str, bool]:
    """Return the keys that a request must have with one of the condition's values.

    The value says whether all of the condition's values have the device id.
    """
    # ForAllValues and …IfExists are true for a request without the key.
    present = {key.lower() for key, value in condition.get("Null", {}).items() if listed(value) == ["false"]}
    return {
        key.lower(): all(DEVICE in text for text in listed(value))
        for operator, keys in condition.items()
        for key, value in keys.items()
        if _NAMES.search(operator)
        and (key.lower() in present or not re.search("ForAllValues|IfExists", operator))
    }


def _meet(one: str, other: str) -> bool:
    one, other = _alike(one, other)
    return meet(_glob(one), _glob(other))


def _alike(one: str, other: str) -> tuple[str, str]:
    """Return two texts in one spelling, because `aws` and `{partition}` can be the same, for example.

    Where one text has a variable, values of it in the other become the variable, too.
    """
    if _is_apart(one, other):
        return one, other
    for variable, value in _VALUES.items():
        if variable in one + other:
            one, other = value.sub(variable, one), value.sub(variable, other)
    return _headed(one), _headed(other)


def _is_apart(one: str, other: str) -> bool:
    """Return whether two ARNs name different regions or accounts."""
    heads = _HEAD.match(one), _HEAD.match(other)
    if not heads[0] or not heads[1]:
        return False
    pairs = zip(heads[0].groups(), heads[1].groups(), strict=True)
    return any(a != b and not re.search(r"[{*?]", a + b) for a, b in pairs)


def _headed(text: str) -> str:
    """Return an ARN with variables for its partition and, where it has them, its region and account."""
    return _HEAD.sub(
        lambda found: f"arn:{{partition}}:{found[1]}:{found[2] and '{region}'}:{found[3] and '{account}'}:",
        text,
        count=1,
    )


def _segment(text: str, start: int, rule: IdRule) -> str:
    """Return the part of `text` from `start` on that stands in the place of an id, up to a delimiter."""
    found = re.compile(r"[^/#=]*" if rule.colons else r"[^/:#=]*").match(text, start)
    return found[0] if found else ""


def _intruder(one: str, other: str, rule: IdRule) -> str | None:
    """Return the id of a device to which `one` gives what `other` gives other devices; None if there is none.

    After a wildcard nothing is compared, so a harmless pair may be refused, but no harmful one is accepted.
    """
    before, start = one.partition(DEVICE)[0], other.partition(DEVICE)[0]
    if start == before or not start.startswith(before):
        return None
    name = _segment(start, len(before), rule)
    if not _is_name(name, rule):
        return None
    if len(before) + len(name) == len(start):
        # Only a colon delimits the other's id, so the intruder's own id can include it.
        included = _glob(one.replace(DEVICE, f"{name}*"))
        return f"{name}{DEVICE}" if meet(included, _glob(other)) else None
    reached = one.replace(DEVICE, name)
    literal = re.split(r"[*?]", reached, maxsplit=1)[0]
    if literal == reached:
        return name if _pattern(other, rule).fullmatch(reached) else None
    return name if literal.startswith(start) or start.startswith(literal) else None


def _common(one: str, other: str, rule: IdRule) -> str | None:
    """Return the id with which `one` gives a device what `other`, a text without an id, gives.

    `*` stands for many ids, None for none.
    """
    before, shared = one.partition(DEVICE)[0], _glob(other)
    literal = re.split(r"[*?]", shared, maxsplit=1)[0]
    if literal.startswith(before):
        name = _segment(literal, len(before), rule)
        # The literal part ends within the segment: a wildcard takes the rest of the id's place.
        if len(before) + len(name) == len(literal) < len(shared):
            begins = re.fullmatch(rf"({rule.character}|\{{\w+\}})*", name) is not None
            return _ANY if begins and meet(_glob(one), shared) else None
        is_common = _is_name(name, rule) and meet(_glob(one.replace(DEVICE, name)), shared)
        return name if is_common else None
    return _ANY if before.startswith(literal) and literal != shared and meet(_glob(one), shared) else None


def _glob(text: str) -> str:
    """Return a text as a pattern, with `*` for the id and for the wildcards of an MQTT topic filter."""
    if _FILTER.match(text):
        text = text.replace("+", "*").replace("#", "*")
    return text.replace(DEVICE, "*")


def _is_name(text: str, rule: IdRule) -> bool:
    # A region, an account and a partition can all be device ids.
    return replace(rule, reserved=()).allows(_VARIABLE.sub("x", text))


def _pattern(text: str, rule: IdRule) -> re.Pattern[str]:
    """Return a pattern for everything that `text` matches for any device."""
    pattern = re.escape(text).replace(re.escape(DEVICE), f"{rule.character}+")
    return re.compile(pattern.replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
