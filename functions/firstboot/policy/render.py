"""Grants to policy documents: for an STS session, for AWS IoT by certificate and by token, and for
the role behind a session.

Values are put into the parsed template, never into its text, and a device id has no character
that acts in a policy: no value can break out of its place. Checks no template; the compiler did.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId
from firstboot.policy import limits
from firstboot.policy.errors import NoGrant

VERSION = "2012-10-17"
THING_NAME = "${iot:Connection.Thing.ThingName}"
"""AWS IoT's own name for the device: one document serves the whole fleet."""

DEVICE = "{deviceId}"
_VARIABLE = re.compile(r"\{(\w+)\}", re.ASCII)

Statement = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where policies apply: what `{partition}`, `{region}` and `{account}` stand for."""

    partition: str
    region: str
    account: str


def session_policy(fleet: Fleet, grants: Iterable[str], device_id: DeviceId, place: Place) -> str:
    """The session policy (compact JSON) of a device that holds `grants`; ids are literal.

    Raises NoGrant if that would be a policy without a statement: STS takes a session without a
    policy for an unrestricted one.
    """
    values = _values(place, device_id)
    statements = [_filled(statement, values) for name in grants for statement in _statements(fleet, name)]
    if not statements:
        raise NoGrant
    return compact(_document(statements))


def iot_policy(fleet: Fleet, grant: str, place: Place) -> str | None:
    """The AWS IoT policy (compact JSON) of a grant, the same for every device; None if the grant
    says nothing about AWS IoT.
    """
    statements = _iot_statements(fleet, [grant], THING_NAME, place)
    return compact(_document(statements)) if statements else None


def connection_policies(
    fleet: Fleet, grants: Iterable[str], device_id: DeviceId, place: Place
) -> list[dict[str, Any]]:
    """The documents of a custom authorizer's answer for a device that holds `grants`; ids are
    literal, since a token's connection need not have a thing, and its variable would stay empty.

    Raises NoGrant if no grant says anything about AWS IoT, PoliciesTooLarge.
    """
    statements = _iot_statements(fleet, grants, device_id, place)
    if not statements:
        raise NoGrant
    return _packed(statements)


def _iot_statements(fleet: Fleet, grants: Iterable[str], device: str, place: Place) -> list[Statement]:
    values = _values(place, device)
    return [
        _filled(statement, values)
        for grant in grants
        for statement in _statements(fleet, grant)
        if _is_iot(statement)
    ]


def _packed(statements: list[Statement]) -> list[dict[str, Any]]:
    """Few documents of AWS's size: the longest statements first, each into the first document that
    has room. Which document a statement is in means nothing: a Deny counts over all of them.
    """
    documents: list[list[Statement]] = []
    for statement in sorted(_document(statements)["Statement"], key=_size, reverse=True):
        room = (each for each in documents if _size(_document([*each, statement])) <= limits.IOT_POLICY)
        found = next(room, None)
        if found is None:
            documents.append([statement])
        else:
            found.append(statement)
    packed = [_document(each) for each in documents]
    limits.check_documents([_size(document) for document in packed])
    return packed


def _size(document: dict[str, Any]) -> int:
    return len(compact(document))


def ceiling(fleet: Fleet, place: Place) -> dict[str, Any]:
    """The identity policy of a fleet role: what any device may ever hold. A session's policy only
    narrows it.

    It must be wider than every session: a Deny belongs to the sessions that hold its grant, and a
    condition on the device's id would compare with the letter `*`. Both are left out.
    """
    values = _values(place, "*")
    statements = [
        _filled(_unconditioned(statement), values)
        for name in sorted(fleet.grants)
        for statement in _statements(fleet, name)
        if statement["Effect"] == "Allow"
    ]
    return _document(statements)


def compact(document: dict[str, Any]) -> str:
    """JSON without white space, in ASCII: what AWS counts the characters of."""
    return json.dumps(document, separators=(",", ":"))


def _values(place: Place, device: str) -> dict[str, str]:
    return asdict(place) | {"deviceId": device}


def _statements(fleet: Fleet, grant: str) -> Iterator[Statement]:
    # A Sid must be unique in a document; grants are written apart, so none goes out.
    for statement in fleet.grants[grant]["Statement"]:
        yield {key: value for key, value in statement.items() if key != "Sid"}


def is_about_iot(fleet: Fleet, grant: str) -> bool:
    """Whether a grant says anything about AWS IoT."""
    return any(map(_is_iot, _statements(fleet, grant)))


def _is_iot(statement: Statement) -> bool:
    return all(action.startswith("iot:") for action in listed(statement["Action"]))


def listed(value: str | list[str]) -> list[str]:
    """IAM's "one or a list of them", as a list."""
    return [value] if isinstance(value, str) else value


def _unconditioned(statement: Statement) -> Statement:
    condition = {
        operator: {key: value for key, value in keys.items() if DEVICE not in "".join(listed(value))}
        for operator, keys in statement.get("Condition", {}).items()
    }
    kept = {operator: keys for operator, keys in condition.items() if keys}
    rest = {key: value for key, value in statement.items() if key != "Condition"}
    return rest | ({"Condition": kept} if kept else {})


def _filled(value: Any, values: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: values[match[1]], value)
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return {key: _filled(item, values) for key, item in value.items()}


def _document(statements: list[Statement]) -> dict[str, Any]:
    distinct = {compact(statement): statement for statement in statements}
    return {"Version": VERSION, "Statement": list(distinct.values())}
