"""Describe dead letters to the operator.

Nothing in a letter is verified: each principal that may send to the queue can write one that looks like
Lambda's or AWS IoT's. A letter is therefore shown and never acted upon. The description has no payload and
no error message of a function, because both may hold what a device sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from firstboot.domain import topics
from firstboot.domain.clock import iso
from firstboot.domain.dead_letters import Letter
from firstboot.runtime.messages import Json

_LONGEST = 200
"""Characters of a text that are shown."""

CONNECTED = "connected"
"""The call that is shown for an event of the rule for presence."""


def described(letter: Letter) -> Json:
    """Return what a letter says of itself, each text cut to 200 characters.

    `sentAt` is SQS's own time. The other members are present if the letter has them: `clientId` and `call`,
    or `deviceId`, or `certificateId`; `requestId`, under which the function's log has the failure; `reason`.
    """
    found = {name: value[:_LONGEST] for name, value in _said(letter.body).items() if isinstance(value, str)}
    return {"sentAt": iso(letter.sent_at)} | (found or {"reason": "not a letter that Firstboot knows"})


def _said(body: str) -> Mapping[str, object]:
    """Return the members that a letter's body has.

    Lambda developer guide, "Capturing records of asynchronous invocations"; AWS IoT developer guide, "Error
    handling (error action)", message format.
    """
    match _json(body):
        case {"requestContext": dict(context), "requestPayload": dict(event), **rest}:
            response = rest.get("responsePayload")
            kind = response.get("errorType") if isinstance(response, dict) else None
            reasons = ": ".join(each for each in (context.get("condition"), kind) if isinstance(each, str))
            about = {"requestId": context.get("requestId"), "reason": reasons or None}
            return {"clientId": event.get("clientId"), "call": _call(event)} | about
        case {"topic": str(topic), "clientId": client_id, "failures": list(failures)}:
            messages = (each.get("errorMessage") for each in failures if isinstance(each, dict))
            request = {"clientId": client_id, "topic": topic}
            return {"clientId": client_id, "call": _call(request), "reason": next(messages, None)}
        case {"deviceId": device_id}:
            return {"deviceId": device_id}
        case {"certificateId": certificate_id}:
            return {"certificateId": certificate_id}
    return {}


def _call(event: Mapping[str, object]) -> object:
    """Return the call of a request: the topic below the client's segment. None for another topic."""
    if "principalIdentifier" in event:
        return CONNECTED
    topic, client_id = event.get("topic"), event.get("clientId")
    for call in topics.CALLS:
        if isinstance(client_id, str) and topic == call.request_topic(client_id):
            return call.request
    return None


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
