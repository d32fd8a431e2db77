"""The parameters of the operator's calls. There is one struct for each operation or shape of parameters."""

from __future__ import annotations

import json
from datetime import date
from ipaddress import ip_address
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from firstboot.domain.device import Attribute
from firstboot.domain.fleet import MISSHAPEN, Fleet
from firstboot.domain.names import DeviceId, IdRule, device_id
from firstboot.policy.rules import RequestContext
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import Request

MAX_PAGE = 500
"""Devices in a page. A record has a few kilobytes, and Lambda answers with 6 MB at most."""

MAX_EXPECTED = 500
"""Devices in a groups.expect call. They take five transactions, well within the call's time."""

MAX_IMPORTED = 20
"""Devices in a devices.import call. Each takes two calls or more to AWS IoT within the call's time."""

Token = Annotated[str, Meta(min_length=1)]
"""The `next` of the page before."""

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hex."""

Attributes = dict[str, Attribute]


class ListDevices(Request, frozen=True, kw_only=True):
    """The page of devices to list.

    `limit` is the most devices in the page, `after` the page's token. With `enrolled_by`, only the devices
    that this bootstrap certificate enrolled are listed. It is the SHA-256 of what is signed in the
    certificate (its identifier) or of its DER (AWS IoT's id). With `anchor`, the SHA-256 of a trust anchor's
    key, only the devices that enrolled under this anchor are listed. With `suspect`, only the devices whose
    enrollments look like those of two boards are listed.
    """

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = MAX_PAGE
    after: Token | None = None
    enrolled_by: Sha256 | None = None
    anchor: Sha256 | None = None
    suspect: bool = False


class OneDevice(Request, frozen=True, kw_only=True):
    """The device that an operation is about."""

    device_id: str


class RebindDevice(Request, frozen=True, kw_only=True):
    """A device, and the bootstrap key that it is admitted with once, until the end of the day `until` (UTC).

    `key` is the SHA-256 of the SubjectPublicKeyInfo.
    """

    device_id: str
    key: Sha256
    until: date


class AdmitDevice(Request, frozen=True, kw_only=True):
    """A device, and the group that a one-time password admits it to. By default it is the record's."""

    device_id: str
    group: str | None = None


class SetAttributes(Request, frozen=True, kw_only=True):
    """A device, and the attributes to set. null removes one."""

    device_id: str
    attributes: Annotated[dict[str, Attribute | None], Meta(min_length=1)]


class ExplainContext(Request, frozen=True, kw_only=True):
    """The request context to explain for.

    Without a role alias, the answer has a request context for MQTT and one for each role alias.
    """

    role_alias: str | msgspec.UnsetType = msgspec.UNSET
    source_ip: str | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        """Raise ValueError unless the source address is an IP address."""
        if isinstance(self.source_ip, str):
            ip_address(self.source_ip)


class ExplainDevice(Request, frozen=True, kw_only=True):
    """A device, and the request context to explain for."""

    device_id: str
    context: ExplainContext = ExplainContext()

    def contexts(self, fleet: Fleet) -> list[RequestContext]:
        """Return the request contexts that the call asks about."""
        alias, address = self.context.role_alias, self.context.source_ip
        source_ip = address if isinstance(address, str) else None
        aliases = [alias] if isinstance(alias, str) else [*fleet.role_aliases, None]
        return [RequestContext(role_alias=each, source_ip=source_ip) for each in aliases]


class RevokeBootstrap(Request, frozen=True, kw_only=True):
    """The bootstrap certificate to revoke, in PEM or base64 DER."""

    certificate: str


class OneGroup(Request, frozen=True, kw_only=True):
    """The group that an operation is about."""

    group: str


class ExpectDevices(Request, frozen=True, kw_only=True):
    """A group and its expected devices, with their attributes."""

    group: str
    devices: Annotated[dict[str, Attributes], Meta(min_length=1, max_length=MAX_EXPECTED)]


class ImportDevices(Request, frozen=True, kw_only=True):
    """A group and the devices to import into it, with their attributes."""

    group: str
    devices: Annotated[dict[str, Attributes], Meta(min_length=1, max_length=MAX_IMPORTED)]


class ApplyFleet(Request, frozen=True, kw_only=True):
    """A compiled fleet definition.

    `in_force` is the hash in `fleet.show`'s `inForce` that the caller compared the definition with. `orphan`
    has the number of devices in each group of the fleet in force that the definition leaves out.
    """

    fleet: dict[str, Any]
    in_force: Sha256 | None = None
    orphan: dict[str, Annotated[int, Meta(ge=0)]] = msgspec.field(default_factory=dict)


class PlanFleet(Request, frozen=True, kw_only=True):
    """A compiled fleet definition, and the token of the page of devices to look at."""

    fleet: dict[str, Any]
    after: Token | None = None


class ShowFailures(Request, frozen=True, kw_only=True):
    """The name of the dead-letter queue whose messages to show. Without it, all queues are counted."""

    failures: str | None = None


class OneKindOfFailures(Request, frozen=True, kw_only=True):
    """The name of a dead-letter queue."""

    failures: str


def checked_ids(devices: dict[str, Attributes], rule: IdRule) -> dict[DeviceId, Attributes]:
    """Return the devices by their checked ids. `rule` is the fleet's rule for ids.

    Raises DeviceIdInvalid.
    """
    return {device_id(name, rule): attributes for name, attributes in devices.items()}


def fleet(members: dict[str, Any]) -> Fleet:
    """Return a compiled fleet definition of which only the shape is checked.

    Raises MalformedRequest.
    """
    try:
        return Fleet.from_json(json.dumps(members))
    except MISSHAPEN as error:
        raise MalformedRequest("`fleet` is not a compiled fleet definition", log=repr(error)) from error
