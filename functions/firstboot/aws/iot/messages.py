"""Messages to devices, through AWS IoT."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from firstboot.aws.clients import answered

if TYPE_CHECKING:
    from mypy_boto3_iot_data import IoTDataPlaneClient


class IotMessages:
    """What the broker of this account and region delivers."""

    def __init__(self, client: IoTDataPlaneClient) -> None:
        self._client = client

    def publish(self, topic: str, members: dict[str, Any]) -> None:
        """Publish a JSON object, at least once (QoS 1); never retained, since an answer is for who
        is waiting. Repeated after a lost reply it comes twice, which MQTT devices must expect.

        Raises Unavailable.
        """
        payload = json.dumps(members, separators=(",", ":")).encode()
        with answered():
            self._client.publish(topic=topic, qos=1, retain=False, payload=payload)
