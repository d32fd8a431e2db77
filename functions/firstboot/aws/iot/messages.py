"""Messages to devices, through AWS IoT's broker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from firstboot.aws.clients import answered
from firstboot.domain.topics import STALE_SECONDS

if TYPE_CHECKING:
    from mypy_boto3_iot_data import IoTDataPlaneClient


class IotMessages:
    """The broker of this account and region."""

    def __init__(self, client: IoTDataPlaneClient) -> None:
        self._client = client

    def publish(self, topic: str, members: dict[str, Any], qos: int) -> None:
        """Publish a JSON object to a topic (Publish).

        When the reply is lost, the repeat sends the message twice, which clients expect of QoS 1 and accept
        of QoS 0: both answers are to the same request. Raises Unavailable.
        """
        # The message is not retained and expires soon, because an answer is for a client that still waits.
        payload = json.dumps(members, separators=(",", ":")).encode()
        with answered():
            self._client.publish(
                topic=topic, qos=qos, retain=False, messageExpiry=STALE_SECONDS, payload=payload
            )
