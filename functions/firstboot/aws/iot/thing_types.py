"""The thing type that is ours in the AWS IoT registry, by which a thing is known to be ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import already, answered
from firstboot.domain.names import DeviceId

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


class IotThingTypes:
    """The thing type with the name of the stack. Every method raises Unavailable."""

    def __init__(self, client: IoTClient, stack: str) -> None:
        self._client = client
        self._stack = stack

    def ensure(self) -> None:
        """Create the thing type unless it exists (CreateThingType). A repeat changes nothing."""
        with already("ResourceAlreadyExistsException"):
            self._client.create_thing_type(thingTypeName=self._stack)

    def is_of_another(self, device_id: DeviceId) -> bool:
        """Return whether AWS IoT has a thing of this name and another type (DescribeThing)."""
        try:
            with answered("ResourceNotFoundException"):
                found = self._client.describe_thing(thingName=device_id)
        except ClientError:
            return False
        return found.get("thingTypeName") != self._stack
