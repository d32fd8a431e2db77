"""Messages to devices, through AWS IoT's broker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from firstboot.aws.clients import answered

if TYPE_CHECKING:
    from mypy_boto3_iot_data import IoTDataPlaneClient


class IotMessages:
    """The broker of this account and region."""

    def __init__(self, client: IoTDataPlaneClient) -> None:
        self._client = client

    def publish(self, topic: str, members: dict[str, Any]) -> None:
        """Publish a JSON object to a topic with QoS 1 (Publish).

        When the reply is lost, the repeat sends the message twice, which QoS 1 allows. Raises Unavailable.
        """
        # The message is not retained: an answer is for the client that sent the request and still listens.
        payload = json.dumps(members, separators=(",", ":")).encode()
        with answered():
            self._client.publish(topic=topic, qos=1, retain=False, payload=payload)
