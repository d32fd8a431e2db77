"""The operator's calls: events of a direct Invoke to values. Their answers are in `operated.py`.

Event `{"operation": "devices.show", "parameters": {…}}`, answer `{"result": {…}}` or
`{"problem": {…}}` with the members of problem+json (RFC 9457).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from firstboot.domain.device import Attribute
from firstboot.domain.errors import MalformedRequest
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId, device_id
from firstboot.policy.rules import Moment

MAX_PAGE = 500
"""Devices a page: a record is a few kilobytes, and Lambda answers with 6 MB at most."""

MAX_EXPECTED = 500
"""Devices a groups.expect call: five transactions, well within its time."""

MAX_IMPORTED = 20
"""Devices a devices.import call: two calls or more to AWS IoT each, within the call's time."""

_CONTEXT = ("roleAlias", "sourceIp")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Call:
    """What is to be done, to what."""

    operation: str
    parameters: dict[str, Any]


def call(event: object) -> Call:
    """The call in an Invoke's event.

    An event with any other member is refused: nothing that API Gateway or a rule forwards, whose
    members a device may choose, must ever pass for an operator's call.

    Raises MalformedRequest.
    """
    match event:
        case {"operation": str(operation), "parameters": dict(parameters), **rest} if not rest:
            return Call(operation, parameters)
        case _:
            raise MalformedRequest("Send exactly {operation, parameters}")


def page(parameters: dict[str, Any]) -> tuple[int, str | None, str | None]:
    """devices.list: how many devices at most, the token of the page before, and the SHA-256 (hex)
    of the bootstrap certificate that enrolled them, if only those are wanted.

    Raises MalformedRequest.
    """
    _only(parameters, "limit", "after", "enrolledBy")
    limit = parameters.get("limit", MAX_PAGE)
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise MalformedRequest(f"`limit` must be an integer from 1 to {MAX_PAGE}")
    enrolled_by = parameters.get("enrolledBy")
    if enrolled_by is not None and not (isinstance(enrolled_by, str) and _SHA256.fullmatch(enrolled_by)):
        raise MalformedRequest("`enrolledBy` must be a SHA-256 in lower-case hex")
    return limit, _after(parameters), enrolled_by


def planned(parameters: dict[str, Any]) -> tuple[Fleet, str | None]:
    """fleet.plan: the compiled fleet, and the token of the page before.

    Raises MalformedRequest.
    """
    return fleet(parameters, "after"), _after(parameters)


def _after(parameters: dict[str, Any]) -> str | None:
    after = parameters.get("after")
    if after is not None and (not isinstance(after, str) or not after):
        raise MalformedRequest("`after` must be the `next` of another page")
    return after


def target(parameters: dict[str, Any], *others: str) -> DeviceId:
    """The device that a call is about; `others` are the call's further parameters.

    Raises MalformedRequest, DeviceIdInvalid.
    """
    _only(parameters, "deviceId", *others)
    text = parameters.get("deviceId")
    if not isinstance(text, str):
        raise MalformedRequest("`deviceId` must be a string")
    return device_id(text)


def attribute_changes(parameters: dict[str, Any]) -> dict[str, Attribute | None]:
    """devices.set: the attributes to set, those to remove as None.

    Raises MalformedRequest.
    """
    changes = parameters.get("attributes")
    if not isinstance(changes, dict) or not changes:
        raise MalformedRequest("`attributes` must be an object with a member at least")
    if not all(value is None or isinstance(value, str | bool | int) for value in changes.values()):
        raise MalformedRequest("An attribute is a string, a Boolean, an integer, or null to remove it")
    return changes


def group(parameters: dict[str, Any], *others: str) -> str:
    """The group that a call is about; `others` are the call's further parameters.

    Raises MalformedRequest.
    """
    _only(parameters, "group", *others)
    name = parameters.get("group")
    if not isinstance(name, str):
        raise MalformedRequest("`group` must be a string")
    return name


def devices(parameters: dict[str, Any], most: int) -> dict[DeviceId, dict[str, Attribute]]:
    """groups.expect, devices.import: the devices, `most` of them at most, with their attributes.

    Raises MalformedRequest, DeviceIdInvalid.
    """
    found = parameters.get("devices")
    if not isinstance(found, dict) or not 1 <= len(found) <= most:
        raise MalformedRequest(f"`devices` must be an object of 1 to {most} members")
    for attributes in found.values():
        if not isinstance(attributes, dict) or not all(
            isinstance(value, str | bool | int) for value in attributes.values()
        ):
            raise MalformedRequest("A device has an object of strings, Booleans and integers")
    return {device_id(name): attributes for name, attributes in found.items()}


def failures(parameters: dict[str, Any], known: Collection[str]) -> str:
    """failures.redrive: which of the `known` dead-letter queues.

    Raises MalformedRequest.
    """
    _only(parameters, "failures")
    name = parameters.get("failures")
    if name not in known:
        raise MalformedRequest(f"`failures` must be one of {', '.join(sorted(known))}")
    return str(name)


def moments(parameters: dict[str, Any], fleet: Fleet) -> list[Moment]:
    """devices.explain: the moments asked about. Without a role alias in the context: MQTT, which
    has none, and every role alias.

    Raises MalformedRequest.
    """
    context = parameters.get("context", {})
    if not isinstance(context, dict) or not all(isinstance(value, str) for value in context.values()):
        raise MalformedRequest("`context` must be an object of strings")
    unknown = context.keys() - set(_CONTEXT)
    if unknown:
        raise MalformedRequest(f"The context has {', '.join(_CONTEXT)}; not {', '.join(sorted(unknown))}")
    source_ip = context.get("sourceIp")
    if source_ip is not None and not _is_address(source_ip):
        raise MalformedRequest("`sourceIp` must be an IP address")
    aliases = [context["roleAlias"]] if "roleAlias" in context else [*fleet.role_aliases, None]
    return [Moment(role_alias=alias, source_ip=source_ip) for alias in aliases]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def fleet(parameters: dict[str, Any], *others: str) -> Fleet:
    """fleet.apply: the compiled fleet, its shape checked and nothing else. `others` are the call's
    further parameters.

    Raises MalformedRequest.
    """
    _only(parameters, "fleet", *others)
    try:
        return Fleet.from_json(json.dumps(parameters.get("fleet")))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise MalformedRequest("`fleet` is not a compiled fleet definition", log=repr(error)) from error


def nothing(parameters: dict[str, Any]) -> None:
    """fleet.show and fleet.progress take no parameters.

    Raises MalformedRequest.
    """
    _only(parameters)


def _only(parameters: dict[str, Any], *known: str) -> None:
    unknown = parameters.keys() - set(known)
    if unknown:
        raise MalformedRequest(f"Unknown parameter {', '.join(sorted(unknown))}")
