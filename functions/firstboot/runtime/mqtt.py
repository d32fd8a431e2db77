"""Requests over MQTT: read the events of topic rules, and publish answers to the client.

A rule's event has exactly `{payload, clientId, principal, topic}`. AWS IoT sets all members but the
payload, which is base64 of what the client sent, so that nothing in it can pass for a member of the event.
For the same reason MQTT and HTTPS have Lambda functions of their own. Answers are published below the
client's own segment of the topics, to which no other client may subscribe.
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
from firstboot.domain.clock import utc_now
from firstboot.domain.errors import FirstbootError, InternalError
from firstboot.identity.connection import Connection
from firstboot.runtime.errors import BodyTooLarge, MalformedJson, MalformedRequest
from firstboot.runtime.guard import Clock, Guard, Handler
from firstboot.runtime.http import MAX_BODY
from firstboot.runtime.messages import Answer, Json, Request, convert, parse_json, stamped
from firstboot.runtime.problem import problem

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Configuration = TypeVar("Configuration")

# A client id must be one level of a topic, without the wildcards of topic filters.
_CLIENT_ID = re.compile(r"[^/+#\x00]{1,128}")
_LONGEST_PAYLOAD = MAX_BODY * 4 // 3 + 4
"""Characters of the base64 of MAX_BODY bytes."""

REQUEST_LOGGED = "request"
"""The message of the log line that each request has, with its `clientId`."""

ClientToken = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""A text of the client's by which it recognises the answer, which repeats it."""


class _Echo(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a request that its answer repeats. This struct ignores the other members."""

    client_token: ClientToken | None = None


@dataclass(frozen=True)
class MqttEndpoint:
    """The type of a request, and the function that answers such a request at a given time."""

    request: type[Request]
    answer: Callable[[Connection, Any, datetime], Answer]


@dataclass(frozen=True)
class MqttEndpoints:
    """The endpoints of one Lambda function by call.

    `publish` sends the members of an answer to a topic with a QoS.
    """

    by_call: Mapping[topics.Call, MqttEndpoint]
    publish: Callable[[str, Json, int], None]


@dataclass(frozen=True)
class Message:
    """A client's request. `payload` is base64."""

    call: topics.Call
    connection: Connection
    payload: str


def message(event: object) -> Message:
    """Return the request in a rule's event.

    Raises MalformedRequest for an event that no rule of the stack makes. It is not answered, since it names
    no client.
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
    raise MalformedRequest(log="not an event of the topic rules")


def connection(event: object) -> Connection:
    """Return the connection in the event of the rule for presence.

    A device that has connected with its new certificate has proved that it has it, so this event commits.
    Raises MalformedRequest.
    """
    # The event can be trusted, since only AWS IoT may publish to its topic.
    match event:
        case {"clientId": str(client_id), "principalIdentifier": str(principal), **rest} if not rest:
            return Connection(client_id, principal)
    raise MalformedRequest(log="not an event of the rule for presence")


def _object(payload: str) -> Json:
    """Return the JSON object in a payload.

    Raises BodyTooLarge, MalformedJson, MalformedRequest.
    """
    if len(payload) > _LONGEST_PAYLOAD:
        raise BodyTooLarge(f"A request must have at most {MAX_BODY} bytes")
    try:
        found = parse_json(base64.b64decode(payload, validate=True))
    except ValueError as error:
        raise MalformedJson(log=repr(error)[:200]) from error
    if not isinstance(found, dict):
        raise MalformedRequest("The request must be a JSON object")
    return found


def mqtt_function(
    service: str,
    build: Callable[[Configuration, Guard], MqttEndpoints],
    read: Callable[[], Configuration],
    clock: Clock = utc_now,
) -> Handler:
    """Return a Lambda handler for topic rules with the endpoints that `build` returns.

    The endpoints are built on the first call, from the settings that `read` returns. A refusal is published
    to the client. After an InternalError the invocation fails as well, so that Lambda repeats it and
    finally moves the request to a queue where an operator finds it.
    """
    guard = Guard(service, clock)
    endpoints = cache(lambda: build(read(), guard))

    def handle(event: object, context: LambdaContext) -> None:
        guard.count("Request")
        asked = guard.run(lambda: message(event), lambda _: None)
        if asked is None:
            return
        guard.about(clientId=asked.connection.client_id, principal=asked.connection.principal)
        # Contributor Insights counts these lines by client (infra/mqtt.py), so each request has exactly one.
        guard.info(REQUEST_LOGGED, call=asked.call.request)
        reply = _reply(asked, endpoints, guard, context.aws_request_id)
        # The client is answered even if the invocation then fails, so that it need not wait for an answer.
        endpoints().publish(reply.topic, reply.members, asked.call.answer_qos)
        if isinstance(reply.failure, InternalError):
            raise reply.failure

    return guard.handler(handle)


@dataclass(frozen=True)
class _Reply:
    """The members to publish to the client, and the failure if they are a problem."""

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
        return _Reply(asked.call.accepted_topic(client), stamped(answer, guard.now()) | echo)

    def reject(error: FirstbootError) -> _Reply:
        body = problem(error, request_id, guard.now()) | echo
        return _Reply(asked.call.rejected_topic(client), body, error)

    return guard.run(accept, reject)


def _echo(request: Json) -> Json:
    """Remove the client token from a request, and return it as a member of the answer.

    Raises MalformedRequest.
    """
    token = convert(_Echo, request).client_token
    request.pop("clientToken", None)
    return {} if token is None else {"clientToken": token}
