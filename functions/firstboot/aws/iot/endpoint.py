"""AWS IoT's endpoint for devices.

It is asked for in a deployment, not when a device calls: the control plane takes ten calls of a kind a
second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstboot.aws.clients import answered

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


def data_endpoint(client: IoTClient) -> str:
    """Return the host name that the account's devices connect to with MQTT (DescribeEndpoint).

    Raises Unavailable.
    """
    with answered():
        return client.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
