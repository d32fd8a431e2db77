"""Requests over MQTT: events of our topic rules in, answers to the one client out.

A rule hands over exactly `{payload, clientId, principal, topic}`, all but the first as AWS IoT knows
them. The payload is base64 of what the client sent, so that nothing in it can look like a member of the
event. Answers go below the client's own segment of the topics, which no other client may hear.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from firstboot.domain import topics
from firstboot.domain.clock import iso, utc_now
from firstboot.domain.errors import FirstbootError, InternalError
from firstboot.identity.connection import Connection
from firstboot.runtime.errors import BodyTooLarge, MalformedJson, MalformedRequest
from firstboot.runtime.guard import Clock, Guard, Handler
from firstboot.runtime.http import MAX_BODY
from firstboot.runtime.messages import Answer, Json, Request, convert, members, parse_json
from firstboot.runtime.problem import problem

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Configuration = TypeVar("Configuration")

# A topic's level, and no wildcard of a topic filter.
_CLIENT_ID = re.compile(r"[^/+#\x00]{1,128}")
_LONGEST_PAYLOAD = MAX_BODY * 4 // 3 + 4
"""Characters of base64 that MAX_BODY bytes become."""

ClientToken = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""What a client sends to recognise the answer by, and the answer repeats."""


class _Echo(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a request that its answer repeats. Other members are ignored here."""

    client_token: ClientToken | None = None


@dataclass(frozen=True)
class MqttEndpoint:
    """A request's type, and the function that answers a client's request at a time."""

    request: type[Request]
    answer: Callable[[Connection, Any, datetime], Answer]


@dataclass(frozen=True)
class MqttEndpoints:
    """The endpoints of one Lambda by call; `publish` sends an answer's members to a topic."""

    by_call: Mapping[topics.Call, MqttEndpoint]
    publish: Callable[[str, Json], None]


@dataclass(frozen=True)
class Message:
    """A client's request; `payload` is base64."""

    call: topics.Call
    connection: Connection
    payload: str


def message(event: object) -> Message:
    """Return the request in a rule's event.

    Raises MalformedRequest for an event that none of our rules makes; it names no client to answer.
    """
    match event:
        case {
            "payload": str(payload),
            "clientId": str(client_id),
            "principal": str(principal),
            "topic": str(topic),
            **rest,
        } if not rest and _CLIENT_ID.fullmatch(client_id):
            for call in topics.CALLS:
                if topic == call.request_topic(client_id):
                    return Message(call, Connection(client_id, principal), payload)
    raise MalformedRequest(log="not an event of our rules")


def connection(event: object) -> Connection:
    """Return the connection in the event of the rule on presence.

    AWS IoT wrote the event: no client may publish to its topic.
    Raises MalformedRequest.
    """
    match event:
        case {"clientId": str(client_id), "principalIdentifier": str(principal), **rest} if not rest:
            return Connection(client_id, principal)
    raise MalformedRequest(log="not an event of our rule")


def _object(payload: str) -> Json:
    """Return the JSON object in a payload.

    Raises BodyTooLarge, MalformedJson, MalformedRequest.
    """
    if len(payload) > _LONGEST_PAYLOAD:
        raise BodyTooLarge(f"A request has at most {MAX_BODY} bytes")
    try:
        found = parse_json(base64.b64decode(payload, validate=True))
    except ValueError as error:
        raise MalformedJson(log=repr(error)[:200]) from error
    if not isinstance(found, dict):
        raise MalformedRequest("An object is expected")
    return found


def mqtt_function(
    service: str,
    build: Callable[[Configuration, Guard], MqttEndpoints],
    read: Callable[[], Configuration],
    clock: Clock = utc_now,
) -> Handler:
    """Return a Lambda handler for topic rules with the endpoints that `build` returns.

    They are built on the first call, from the settings that `read` returns. A refusal is published to the
    client. After an unforeseen failure the invocation fails too: Lambda repeats it, and keeps the request
    where an operator finds it.
    """
    guard = Guard(service, clock)
    endpoints = cache(lambda: build(read(), guard))

    def handle(event: object, context: LambdaContext) -> None:
        guard.count("Request")
        asked = guard.run(lambda: message(event), lambda _: None)
        if asked is None:
            return
        guard.about(clientId=asked.connection.client_id, principal=asked.connection.principal)
        reply = _reply(asked, endpoints, guard, context.aws_request_id)
        endpoints().publish(reply.topic, reply.members)
        if isinstance(reply.failure, InternalError):
            raise reply.failure

    return guard.handler(handle)


@dataclass(frozen=True)
class _Reply:
    """What is published to the client, and the failure that it tells of, if any."""

    topic: str
    members: Json
    failure: FirstbootError | None = None


def _reply(asked: Message, endpoints: Callable[[], MqttEndpoints], guard: Guard, request_id: str) -> _Reply:
    client, echo = asked.connection.client_id, Json()

    def accept() -> _Reply:
        request = _object(asked.payload)
        echo.update(_echo(request))
        endpoint = endpoints().by_call[asked.call]
        answer = endpoint.answer(asked.connection, convert(endpoint.request, request), guard.now())
        return _Reply(asked.call.accepted_topic(client), members(answer) | {"time": iso(guard.now())} | echo)

    def reject(error: FirstbootError) -> _Reply:
        body = problem(error, request_id, guard.now()) | echo
        return _Reply(asked.call.rejected_topic(client), body, error)

    return guard.run(accept, reject)


def _echo(request: Json) -> Json:
    """Take the client token out of a request.

    Raises MalformedRequest.
    """
    token = convert(_Echo, request).client_token
    request.pop("clientToken", None)
    return {} if token is None else {"clientToken": token}
