"""Render grants as policy documents: for an STS session, for AWS IoT, and for the role behind a session.

Values are put into the parsed template, never into its text, and no character of a device id has a meaning
in a policy. So no value can change a policy's structure. The compiler has checked the templates.
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
"""AWS IoT's policy variable for the device id, with which one document serves the whole fleet."""

ATTACHED = {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}
"""The condition that the certificate of a connection is attached to the thing that its client id names.

Source: AWS IoT developer guide, "Thing policy variables" and "Thing policy examples". A bootstrap certificate
has no thing, and neither has a connection by token or by an STS session, so their policies do not have it.
"""

DEVICE = "{deviceId}"
_VARIABLE = re.compile(r"\{(\w+)\}", re.ASCII)

Statement = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """The values of `{partition}`, `{region}` and `{account}` in a template."""

    partition: str
    region: str
    account: str


def session_policy(fleet: Fleet, grants: Iterable[str], device_id: DeviceId, place: Place) -> str:
    """Return the session policy (compact JSON) of a device that holds `grants`, with the literal device id.

    Statements about AWS IoT are included, so that a device which connects over WebSocket with these
    credentials has the rights that it has with its certificate.
    Raises NoGrant if the policy would have no statement.
    """
    values = _values(place, device_id)
    statements = [_filled(statement, values) for name in grants for statement in _statements(fleet, name)]
    if not statements:
        # STS gives a session without a policy all rights of its role.
        raise NoGrant
    return compact(_document(statements))


def iot_policy(fleet: Fleet, grant: str, place: Place) -> str | None:
    """Return the AWS IoT policy (compact JSON) of a grant, which is the same for every device.

    Return None if the grant has no statement about AWS IoT.
    """
    statements = _iot_statements(fleet, [grant], THING_NAME, place)
    return compact(_document([_attached(each) for each in statements])) if statements else None


def connection_policies(
    fleet: Fleet, grants: Iterable[str], device_id: DeviceId, place: Place
) -> list[dict[str, Any]]:
    """Return the policy documents of a custom authorizer's answer for a device that holds `grants`.

    Raises NoGrant if no grant has a statement about AWS IoT, PoliciesTooLarge.
    """
    # The device id is literal: a connection by token need not have a thing, and without one AWS IoT leaves
    # the variable of the thing's name empty.
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


def _attached(statement: Statement) -> Statement:
    """Return a statement that lets no certificate connect without its thing."""
    if statement["Effect"] != "Allow" or "iot:Connect" not in listed(statement["Action"]):
        return statement
    # A certificate's policies add up, so each of them that allows to connect needs the condition.
    condition = statement.get("Condition", {})
    merged = {operator: condition.get(operator, {}) | keys for operator, keys in ATTACHED.items()}
    return statement | {"Condition": condition | merged}


def _packed(statements: list[Statement]) -> list[dict[str, Any]]:
    """Pack statements into few documents of the size that AWS accepts.

    The longest statements come first, and each goes into the first document with room for it. The document
    in which a statement stands has no meaning: a Deny applies to all of them.
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
    """Return the identity policy of a fleet role: all grants, with `*` for the device id.

    IAM intersects it with the session policy, which has the literal id. With `${aws:PrincipalTag/deviceId}`
    in the role no session policy would be needed, but rules could then not give one grant and not another.
    """
    # The role must allow everything that a session may allow. So two things are left out: Deny statements,
    # which belong to the sessions that hold their grant, and conditions on the device id, which would compare
    # it with the letter `*`.
    values = _values(place, "*")
    statements = [
        _filled(_unconditioned(statement), values)
        for name in sorted(fleet.grants)
        for statement in _statements(fleet, name)
        if statement["Effect"] == "Allow"
    ]
    return _document(statements)


def compact(document: dict[str, Any]) -> str:
    """Return JSON in ASCII without white space, the form whose characters AWS counts."""
    return json.dumps(document, separators=(",", ":"))


def _values(place: Place, device: str) -> dict[str, str]:
    return asdict(place) | {"deviceId": device}


def _statements(fleet: Fleet, grant: str) -> Iterator[Statement]:
    # A Sid must be unique in a document. Grants are written independently of each other, so Sids are dropped.
    # A grant of another kind has no statements.
    for statement in fleet.grants[grant].get("Statement", ()):
        yield {key: value for key, value in statement.items() if key != "Sid"}


def is_about_iot(fleet: Fleet, grant: str) -> bool:
    """Return whether a grant has a statement about AWS IoT."""
    return any(map(_is_iot, _statements(fleet, grant)))


def _is_iot(statement: Statement) -> bool:
    # The compiler refuses a statement with actions of iot and of other services.
    return all(action.startswith("iot:") for action in listed(statement["Action"]))


def listed(value: str | list[str]) -> list[str]:
    """Return an element that IAM allows to be a string or a list of strings as a list."""
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
    # Two grants may have the same statement, and documents are limited in size.
    distinct = {compact(statement): statement for statement in statements}
    return {"Version": VERSION, "Statement": list(distinct.values())}
