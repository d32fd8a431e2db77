"""Requests over MQTT: events of our topic rules in, answers to the one client out.

A rule hands over exactly `{payload, clientId, principal, topic}`, all but the first as AWS IoT knows
them. The payload is base64 of whatever the client sent, so nothing in it can look like a member of
the event. Answers go below the client's own segment of the topics, which no one else may hear.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from firstboot.domain import topics
from firstboot.domain.clock import iso
from firstboot.domain.errors import (
    BodyTooLarge,
    FirstbootError,
    InternalError,
    MalformedJson,
    MalformedRequest,
)
from firstboot.identity.possession import Connection
from firstboot.runtime import guard as refusals
from firstboot.runtime.http import MAX_BODY, problem_members

MAX_CLIENT_TOKEN = 64

# A topic's level, and no wildcard of a topic filter.
_CLIENT_ID = re.compile(r"[^/+#\x00]{1,128}")
_TOO_LONG = MAX_BODY * 4 // 3 + 4

Members = dict[str, Any]
Answer = Callable[[Connection, Members], Members]
"""What answers a call: its connection and the request's members in, the answer's members out."""


@dataclass(frozen=True)
class Message:
    """A client's request; `payload` is base64."""

    call: topics.Call
    connection: Connection
    payload: str


def message(event: object) -> Message:
    """The request in a rule's event.

    Raises MalformedRequest for what none of our rules hands over: nobody may be told.
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


def members(payload: str) -> Members:
    """The members of a request's JSON object.

    Raises BodyTooLarge, MalformedJson, MalformedRequest.
    """
    if len(payload) > _TOO_LONG:
        raise BodyTooLarge(f"A request has at most {MAX_BODY} bytes")
    try:
        found = json.loads(base64.b64decode(payload, validate=True))
    except (ValueError, RecursionError) as error:
        raise MalformedJson(log=repr(error)[:200]) from error
    if not isinstance(found, dict):
        raise MalformedRequest("An object is expected")
    return found


def take_client_token(request: Members) -> Members:
    """Take the `clientToken` out of a request: what the answer repeats of it.

    Raises MalformedRequest.
    """
    token = request.pop("clientToken", None)
    if token is None:
        return {}
    if not isinstance(token, str) or not 1 <= len(token) <= MAX_CLIENT_TOKEN:
        raise MalformedRequest(f"`clientToken` is a string of 1 to {MAX_CLIENT_TOKEN} characters")
    return {"clientToken": token}


def take_bootstrap(request: Members) -> str | None:
    """Take the `bootstrap` certificate out of a request.

    Raises MalformedRequest.
    """
    bootstrap = request.pop("bootstrap", None)
    if bootstrap is not None and not isinstance(bootstrap, str):
        raise MalformedRequest("`bootstrap` is the certificate in PEM, or base64 of its DER")
    return bootstrap


def take_nothing(request: Members) -> None:
    """Take a request that has no members.

    Raises MalformedRequest.
    """
    if request:
        raise MalformedRequest(f"Unknown member {min(request)[:40]!a}")


def role_alias(request: Members) -> str:
    """The role alias that credentials are asked under.

    Raises MalformedRequest.
    """
    alias = request.pop("roleAlias", None)
    take_nothing(request)
    if not isinstance(alias, str):
        raise MalformedRequest("`roleAlias` is a string")
    return alias


def connection(event: object) -> Connection:
    """Who has connected, in the event of the rule on presence: AWS IoT's own words, since no client
    may publish there.

    Raises MalformedRequest.
    """
    match event:
        case {"clientId": str(client_id), "principalIdentifier": str(principal), **rest} if not rest:
            return Connection(client_id, principal)
    raise MalformedRequest(log="not an event of our rule")


class Requests:
    """A Lambda's MQTT side: its calls, and one place where errors become answers.

    `publish` takes a topic and an answer's members. What it raises, and what nobody foresaw, leaves
    the handler: Lambda tries once more, and then keeps the request where an operator finds it.
    """

    def __init__(
        self,
        logger: Logger,
        metrics: Metrics,
        clock: Callable[[], datetime],
        publish: Callable[[str, Members], None],
        answers: Mapping[topics.Call, Answer],
    ) -> None:
        self._logger = logger
        self._metrics = metrics
        self._clock = clock
        self._publish = publish
        self._answers = answers

    def handle(self, event: object, context: LambdaContext) -> None:
        """Answer an event."""
        self._metrics.add_metric("Request", MetricUnit.Count, 1)
        try:
            asked = message(event)
        except MalformedRequest as error:
            refusals.count(error, self._logger, self._metrics)
            return
        self._logger.append_keys(clientId=asked.connection.client_id, principal=asked.connection.principal)
        self._answer(asked, context.aws_request_id)

    def _answer(self, asked: Message, request_id: str) -> None:
        echo: Members = {}
        try:
            request = members(asked.payload)
            echo = take_client_token(request)
            answer = self._answers[asked.call](asked.connection, request)
        except FirstbootError as error:
            refusals.count(error, self._logger, self._metrics)
            self._reject(asked, error, request_id, echo)
        except Exception:
            self._logger.exception("unhandled")
            self._metrics.add_metric("InternalError", MetricUnit.Count, 1)
            self._reject(asked, InternalError(), request_id, echo)
            raise
        else:
            whole = answer | {"time": iso(self._clock())} | echo
            self._publish(asked.call.accepted_topic(asked.connection.client_id), whole)

    def _reject(self, asked: Message, error: FirstbootError, request_id: str, echo: Members) -> None:
        problem = problem_members(error, request_id, self._clock()) | echo
        self._publish(asked.call.rejected_topic(asked.connection.client_id), problem)
