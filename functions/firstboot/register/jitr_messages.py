"""Messages about certificates that AWS IoT registered by itself.

A topic rule puts AWS IoT's event into one queue. An event that passes becomes a message in another queue,
where it waits for the decision.

https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from firstboot.domain.clock import epoch, from_epoch
from firstboot.domain.names import CERTIFICATE_ID
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import QueueMessage, convert, parse_json


@dataclass(frozen=True)
class Arrival:
    """A certificate that waits for activation.

    `since` is when its event passed (whole seconds), None for an event as AWS IoT published it. `tries`
    counts how often the message was sent again because AWS did not answer.
    """

    certificate_id: str
    since: datetime | None = None
    tries: int = 0


class RegisteredMessage(QueueMessage, frozen=True, kw_only=True):
    """AWS IoT's event, and our message about one that passed: `since` is in epoch seconds.

    The event's other members are ignored, because the certificate's status may have changed since.
    """

    certificate_id: str
    since: int | None = None
    tries: int = 0


def parse(body: str) -> Arrival:
    """Return what a message says.

    Raises MalformedJson, MalformedRequest.
    """
    message = convert(RegisteredMessage, parse_json(body))
    if not CERTIFICATE_ID.fullmatch(message.certificate_id):
        raise MalformedRequest(log="the certificate id is malformed")
    try:
        since = None if message.since is None else from_epoch(message.since)
    except ValueError as error:  # an instant that datetime can't represent
        raise MalformedRequest(log=repr(error)) from error
    return Arrival(message.certificate_id, since, message.tries)


def render(arrival: Arrival) -> str:
    """Return the message about an event that passed."""
    message = RegisteredMessage(
        certificate_id=arrival.certificate_id,
        since=None if arrival.since is None else epoch(arrival.since),
        tries=arrival.tries,
    )
    return msgspec.json.encode(message).decode()
