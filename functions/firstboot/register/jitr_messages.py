"""Messages about certificates that AWS IoT registered by itself, as a topic rule puts them into a queue.

https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html
"""

from __future__ import annotations

from firstboot.domain.names import CERTIFICATE_ID
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import QueueMessage, convert, parse_json


class RegisteredMessage(QueueMessage, frozen=True, kw_only=True):
    """AWS IoT's event.

    Its other members are ignored, because the certificate's status may have changed since.
    """

    certificate_id: str


def parse(body: str) -> str:
    """Return the id of the certificate that a message is about.

    Raises MalformedJson, MalformedRequest.
    """
    message = convert(RegisteredMessage, parse_json(body))
    if not CERTIFICATE_ID.fullmatch(message.certificate_id):
        raise MalformedRequest(log="the certificate id is malformed")
    return message.certificate_id
