"""AWS IoT's control plane: not on a device's path, which it is too slow for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstboot.aws.clients import answered

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


def data_endpoint(client: IoTClient) -> str:
    """The host name that the account's devices connect to, by MQTT.

    Raises Unavailable.
    """
    with answered():
        return client.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
