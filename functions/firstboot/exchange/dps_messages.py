"""The wire format of Azure's Device Provisioning Service (DPS) over HTTPS.

REST reference, "Runtime Registration": Register Device, Operation Status Lookup, Device Registration Status
Lookup. The three API versions have the same members here; what later ones added is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from firstboot.domain.clock import iso
from firstboot.domain.errors import Action, FirstbootError
from firstboot.exchange.errors import ApiVersionUnsupported, UnsupportedMediaType
from firstboot.exchange.messages import Claims, check_claims
from firstboot.runtime.errors import BodyTooLarge
from firstboot.runtime.http import MAX_BODY, HttpRequest, HttpResponse, json_response, media_type
from firstboot.runtime.messages import Answer, Json, Kind, Request, convert, members, parse_json
from firstboot.runtime.problem import waiting_time

VERSIONS = ("2019-03-31", "2021-06-01", "2021-10-01")

_CODES = {HTTPStatus.UNAUTHORIZED: 401_002, HTTPStatus.NOT_FOUND: 404_201}
"""The error codes that Azure's answers are known to have. Of a code only the three first digits are
documented, which are the HTTP status (Azure, "Troubleshoot Device Provisioning Service")."""

_LONGEST_MESSAGE = 400

Id = Annotated[str | None, Meta(description="The registration id, as in the path or in another case")]


class DpsPayload(Request, frozen=True, kw_only=True):
    """The part of a registration that DPS leaves to a device."""

    csr: Annotated[
        str,
        Meta(description="A certificate request as in `POST /v1/certificates`: PEM, or base64 of the DER"),
    ]
    claims: (
        Annotated[Claims, Meta(description="The device's claims, as in `POST /v1/certificates`")] | UnsetType
    ) = UNSET

    def __post_init__(self) -> None:
        """Raise ValueError for a claim that is too long, or whose name has another character."""
        check_claims(self.claims or {})


class DpsRequest(Request, frozen=True, kw_only=True):
    """The body of a registration."""

    payload: Annotated[DpsPayload, Meta(description="The certificate request, and claims")]
    name: Id = msgspec.field(default=None, name="registrationId")


class DpsLookup(Request, frozen=True, kw_only=True):
    """The body of a lookup of a registration's state."""

    name: Id = msgspec.field(default=None, name="registrationId")


class DpsState(Answer, frozen=True, kw_only=True):
    """The state of a registration."""

    name: Annotated[str, Meta(description="The registration id")] = msgspec.field(name="registrationId")
    status: Annotated[
        Literal["assigning", "assigned"],
        Meta(description="Whether the certificate is issued (`assigned`) or recorded (`assigning`)"),
    ]
    created: Annotated[str, Meta(description="When the device first enrolled")] = msgspec.field(
        name="createdDateTimeUtc"
    )
    updated: Annotated[str, Meta(description="When the device's record last changed")] = msgspec.field(
        name="lastUpdatedDateTimeUtc"
    )
    etag: Annotated[str, Meta(description="A text that changes with each certificate")]
    device_id: (
        Annotated[str, Meta(description="The device's id, thing name and MQTT client id")] | UnsetType
    ) = UNSET
    assigned_hub: Annotated[str, Meta(description="AWS IoT's data endpoint")] | UnsetType = UNSET
    substatus: (
        Annotated[
            Literal["initialAssignment", "reprovisionedToInitialAssignment"],
            Meta(description="Whether the device had a certificate before"),
        ]
        | UnsetType
    ) = UNSET
    payload: (
        Annotated[
            dict[str, Any],
            Meta(
                description="The members of the answer to `POST /v1/certificates` with `deliver: inline`:"
                " `certificate`, `chain`, `mqtt` and others"
            ),
        ]
        | UnsetType
    ) = UNSET


class DpsOperation(Answer, frozen=True, kw_only=True):
    """An operation, which registers a device."""

    operation_id: Annotated[str, Meta(description="The id with which the device asks for the result")]
    status: Literal["assigning", "assigned"]
    state: DpsState | UnsetType = msgspec.field(name="registrationState", default=UNSET)


class DpsError(Answer, frozen=True, kw_only=True):
    """A refusal in DPS's form."""

    error_code: Annotated[int, Meta(description="The HTTP status in the first three of six digits")]
    tracking_id: Annotated[str, Meta(description="The id of the request in the operator's log")]
    message: Annotated[str, Meta(description="What is wrong with this request")]
    info: Annotated[
        dict[str, str], Meta(description="Firstboot's `code`, `reason` and `action` of the refusal")
    ]
    timestamp_utc: Annotated[str, Meta(description="The server's time")]


def check_version(query: Mapping[str, str]) -> None:
    """Refuse a query without a supported api-version. Raises ApiVersionUnsupported."""
    if query.get("api-version") not in VERSIONS:
        raise ApiVersionUnsupported(f"The supported ones are {', '.join(VERSIONS)}")


def read(kind: type[Kind], request: HttpRequest) -> Kind:
    """Return the body of a request. Raises BodyTooLarge, UnsupportedMediaType and what `convert` raises."""
    if len(request.body) > MAX_BODY:
        raise BodyTooLarge(f"A request has at most {MAX_BODY} bytes")
    content_type = media_type(request.headers.get("content-type", ""))
    if content_type not in ("", "application/json"):
        raise UnsupportedMediaType("The content type must be application/json")
    return convert(kind, parse_json(request.body))


def respond(status: HTTPStatus, answer: Answer, retry_after: int | None = None) -> HttpResponse:
    """Return a response with an answer. `retry_after` is in seconds."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return json_response(status, "application/json", members(answer), headers)


def refuse(error: FirstbootError, request_id: str, now: datetime) -> HttpResponse:
    """Return the response for a domain error in DPS's form.

    A device that must wait gets 429, which DPS's clients know as the time to wait for `Retry-After`.
    """
    status = HTTPStatus.TOO_MANY_REQUESTS if error.action is Action.WAIT else HTTPStatus(error.status)
    waits = error.action in (Action.WAIT, Action.RETRY)
    info: Json = {"code": error.code, "action": error.action.value}
    answer = DpsError(
        error_code=_CODES.get(status, status * 1_000),
        tracking_id=request_id,
        message=error.detail[:_LONGEST_MESSAGE],
        info=info | ({"reason": error.reason.value} if error.reason else {}),
        timestamp_utc=iso(now),
    )
    return respond(status, answer, waiting_time(error, request_id) if waits else None)
