"""Messages about certificates that AWS IoT registered by itself, as a topic rule puts them into a queue.

https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from firstboot.domain.clock import epoch_milliseconds, from_epoch_milliseconds
from firstboot.domain.names import CERTIFICATE_ID
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import QueueMessage, convert, parse_json


@dataclass(frozen=True)
class Waiting:
    """A certificate that waits for activation.

    `slot` is its slot of the rate limiter (whole milliseconds), None if it has not taken one yet.
    """

    certificate_id: str
    slot: datetime | None = None


class RegisteredMessage(QueueMessage, frozen=True, kw_only=True):
    """AWS IoT's event, or the same certificate with its slot in epoch milliseconds.

    AWS IoT's other members are ignored, because the certificate's status may have changed since.
    """

    certificate_id: str
    slot: int | None = None


def parse(body: str) -> Waiting:
    """Return the certificate that a message is about.

    Raises MalformedJson, MalformedRequest.
    """
    message = convert(RegisteredMessage, parse_json(body))
    if not CERTIFICATE_ID.fullmatch(message.certificate_id):
        raise MalformedRequest(log="the certificate id is malformed")
    try:
        slot = None if message.slot is None else from_epoch_milliseconds(message.slot)
    except ValueError as error:
        raise MalformedRequest(log=repr(error)) from error
    return Waiting(message.certificate_id, slot)


def render(waiting: Waiting) -> str:
    """Return the message that brings the certificate back at its slot."""
    slot = None if waiting.slot is None else epoch_milliseconds(waiting.slot)
    message = RegisteredMessage(certificate_id=waiting.certificate_id, slot=slot)
    return msgspec.json.encode(message).decode()
