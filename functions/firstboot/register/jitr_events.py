"""AWS IoT's word that it registered a certificate by itself, as a topic rule puts it into a queue.

https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from firstboot.domain.clock import epoch_milliseconds, from_epoch_milliseconds
from firstboot.domain.errors import MalformedRequest
from firstboot.domain.names import CERTIFICATE_ID


@dataclass(frozen=True)
class Newcomer:
    """A certificate to judge. `slot` is its slot of the rate limiter (whole milliseconds); None if it has
    not taken one yet.
    """

    certificate_id: str
    slot: datetime | None = None


def parse(body: str) -> Newcomer:
    """The certificate that a message is about. Its status may be another by now, so what the
    message says of it is of no matter.

    Raises MalformedRequest.
    """
    try:
        match json.loads(body):
            case {"certificateId": str(known), "slot": int(slot)} if CERTIFICATE_ID.fullmatch(known):
                return Newcomer(known, from_epoch_milliseconds(slot))
            case {"certificateId": str(known)} if CERTIFICATE_ID.fullmatch(known):
                return Newcomer(known)
            case _:
                raise MalformedRequest(log="no event of a registered certificate")
    except ValueError as error:
        raise MalformedRequest(log="no JSON") from error


def render(newcomer: Newcomer) -> str:
    """Return the message that brings it back, with `slot` in epoch milliseconds."""
    slot = None if newcomer.slot is None else epoch_milliseconds(newcomer.slot)
    return json.dumps({"certificateId": newcomer.certificate_id, "slot": slot})
