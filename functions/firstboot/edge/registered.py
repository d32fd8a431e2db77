"""AWS IoT's word that it registered a certificate by itself, as a topic rule puts it into a queue.

https://docs.aws.amazon.com/iot/latest/developerguide/auto-register-device-cert.html
"""

from __future__ import annotations

import json
import re

from firstboot.errors import MalformedRequest

_CERTIFICATE_ID = re.compile(r"[0-9a-f]{64}")


def certificate_id(body: str) -> str:
    """The certificate that a message is about. Its status may be another by now, so what the
    message says of it is of no matter.

    Raises MalformedRequest.
    """
    try:
        match json.loads(body):
            case {"certificateId": str(known)} if _CERTIFICATE_ID.fullmatch(known):
                return known
            case _:
                raise MalformedRequest(log="no event of a registered certificate")
    except ValueError as error:
        raise MalformedRequest(log="no JSON") from error
