"""Find AWS IoT policies of others that reach the topics of devices. No input or output.

A certificate gets what all its policies allow together. So each policy is judged alone, and by what it could
give to a client that another policy lets connect or subscribe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import product
from typing import Any

from firstboot.domain import topics
from firstboot.policy.render import Place

Json = dict[str, Any]

_OWN = "\ue000"
"""What a policy variable stands for. Its value is the client's own, and so never another device's id."""

_ID = "\ue001"
"""Stands for the id of any device in a topic: one or more characters, but no slash and no own value."""

_VARIABLE = re.compile(r"\$\{[^}]*\}")


class Reach(StrEnum):
    """A thing that a policy lets a client do with another device's topics."""

    HEAR = "hear answers to other devices, credentials among them"
    SPEAK = "publish as other devices or as Firstboot"


@dataclass(frozen=True)
class _Target:
    """An action on a resource of another device. It has no effect if `needs` is denied."""

    action: str
    resource: str
    reach: Reach
    needs: _Target | None = None


def reach(document: Json, place: Place) -> set[Reach]:
    """Return what a policy document lets its clients do with another device's topics.

    Conditions are taken to hold if they allow, and not to hold if they deny. Raises ValueError for a document
    that is not a policy.
    """
    statements = [_statement(each) for each in _listed(document.get("Statement"))]
    allows = [each for each in statements if each["Effect"] == "Allow"]
    denies = [each for each in statements if each["Effect"] == "Deny" and "Condition" not in each]
    return {
        target.reach
        for target in _targets(place)
        if any(_allows(each, target) for each in allows)
        and not any(_denies(each, denied) for each in denies for denied in (target, target.needs) if denied)
    }


def _statement(statement: Any) -> Json:  # noqa: ANN401 - any JSON value
    if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
        raise ValueError("a statement is not of a policy")
    return statement


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    return value if isinstance(value, list) else [value]


def _targets(place: Place) -> Iterator[_Target]:
    arn = f"arn:{place.partition}:iot:{place.region}:{place.account}:"
    for call in topics.CALLS:
        yield _Target("iot:publish", f"{arn}topic/{call.request_topic(_ID)}", Reach.SPEAK)
        for answer in call.answer_topics(_ID):
            yield _Target("iot:publish", f"{arn}topic/{answer}", Reach.SPEAK)
            receive = _Target("iot:receive", f"{arn}topic/{answer}", Reach.HEAR)
            yield receive
            for found in _filters(answer):
                yield _Target("iot:subscribe", f"{arn}topicfilter/{found}", Reach.HEAR, receive)


def _filters(topic: str) -> Iterator[str]:
    """Yield the topic filters that match a topic, each also as a shared subscription.

    A `+` stands for one level and a `#` at the end for the rest, which may be empty (MQTT 3.1.1, 4.7.1).
    """
    levels = topic.split("/")
    for length in range(len(levels) + 1):
        for chosen in product(*((level, "+") for level in levels[:length])):
            for found in ["/".join([*chosen, "#"])] + (["/".join(chosen)] if length == len(levels) else []):
                yield found
                yield f"$share/{_ID}/{found}"


def _allows(statement: Json, target: _Target) -> bool:
    """Return whether an allow statement covers a part of the target."""
    if "NotAction" in statement:
        action = not any(_covers(each.lower(), target.action) for each in _texts(statement, "NotAction"))
    else:
        action = any(_covers(each.lower(), target.action) for each in _texts(statement, "Action"))
    if not action:
        return False
    if "NotResource" in statement:
        return not any(_covers(each, target.resource) for each in _texts(statement, "NotResource"))
    return any(_meets(each, target.resource) for each in _texts(statement, "Resource"))


def _denies(statement: Json, target: _Target) -> bool:
    """Return whether a deny statement covers the target as a whole."""
    # A deny with NotAction or NotResource is taken to deny nothing, so it hides no policy.
    return any(_covers(each.lower(), target.action) for each in _texts(statement, "Action")) and any(
        _covers(each, target.resource) for each in _texts(statement, "Resource")
    )


def _texts(statement: Json, member: str) -> Iterable[str]:
    found = _listed(statement.get(member, []))
    if not all(isinstance(each, str) for each in found):
        raise ValueError(f"{member} is not text")
    return found


def _covers(pattern: str, target: str) -> bool:
    """Return whether a pattern matches the target under every id."""
    # An id may have any length, so only a `*` covers it.
    return _matches(pattern, target, {_ID: 0})


def _meets(pattern: str, target: str) -> bool:
    """Return whether a pattern matches the target under some id."""
    return _matches(pattern, target, {})


def _matches(pattern: str, target: str, positions: dict[str, int]) -> bool:
    """Return whether a pattern matches the target, whose positions of characters `positions` overrides."""
    # Each bit of `at` is a position in the target up to which it can be what the pattern has matched so far.
    # A character in an id leaves the position before the id, or moves behind it. A regular expression would
    # take exponential time for some patterns.
    all_ids, positions = _positions(target)[_ID], _positions(target) | positions
    at, behind = 1, 1 << len(target)
    for each in _VARIABLE.sub(_OWN, pattern):
        if each == "*":
            at = (behind << 1) - (at & -at)  # the first position and all after it
            continue
        in_id = 0 if each in ("/", _OWN) else at & positions[_ID]
        moved = at & (behind - 1) & ~all_ids if each == "?" else at & positions.get(each, 0)
        at = in_id | (moved | in_id) << 1
        if not at:
            return False
    return bool(at & behind)


@cache
def _positions(target: str) -> dict[str, int]:
    """Return the positions of each character in the target, one bit each."""
    found = {_ID: 0}
    for position, character in enumerate(target):
        found[character] = found.get(character, 0) | 1 << position
    return found
