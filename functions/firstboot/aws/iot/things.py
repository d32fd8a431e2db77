"""Things of the AWS IoT registry, with their groups, shadows and connections."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import already, answered, error_code
from firstboot.domain.aws_iot import AGAIN_SECONDS, ThingOwner
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from firstboot.policy.render import Place

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_iot.type_defs import DescribeThingResponseTypeDef
    from mypy_boto3_iot_data import IoTDataPlaneClient

_GONE = "ResourceNotFoundException"
_THERE = "ResourceAlreadyExistsException"
_INVALID = "InvalidRequestException"


class IotThings:
    """The port Things of `register`.

    A thing is ours if its type is, which has the stack's name, or if its device was imported. Names of thing
    groups that are ours begin with the stack's name. Every method may be repeated, also after a lost reply,
    and raises Unavailable when AWS IoT does not answer.
    """

    def __init__(self, client: IoTClient, data: IoTDataPlaneClient, stack: str, place: Place) -> None:
        self._client = client
        self._data = data
        self._stack = stack
        self._prefix = f"{stack}-"
        self._certificates = f"arn:{place.partition}:iot:{place.region}:{place.account}:cert/"

    def ensure(self, device_id: DeviceId, group: str, attributes: dict[str, str], *, imported: bool) -> bool:
        """Create or update the device's thing, and put it into its group and no other group of ours.

        Return False if the thing is not ours, after which nothing is changed, or if it may join no further
        group. CreateThing and UpdateThing are called only where DescribeThing shows a difference.
        """
        thing = self._described(device_id)
        if thing is None and not self._create(device_id, attributes):
            thing = self._described(device_id)  # another process has just created it
        if thing and not self._is_ours(thing, imported=imported):
            return False
        # A thing of another type existed before its device was imported. Its attributes are its maker's:
        # replacing them would destroy what the account searches things by.
        if thing and self._is_typed(thing) and thing.get("attributes", {}) != attributes:
            self._update(device_id, attributes)
        return self._join(device_id, f"{self._prefix}{group}")

    def owner(self, device_id: DeviceId, *, imported: bool) -> ThingOwner | None:
        """Return whose the thing is, or None without a thing (DescribeThing)."""
        thing = self._described(device_id)
        if thing is None:
            return None
        return ThingOwner.OURS if self._is_ours(thing, imported=imported) else ThingOwner.ANOTHER

    def _described(self, device_id: DeviceId) -> DescribeThingResponseTypeDef | None:
        try:
            with answered(_GONE):
                return self._client.describe_thing(thingName=device_id)
        except ClientError:
            return None

    def _is_ours(self, thing: DescribeThingResponseTypeDef, *, imported: bool) -> bool:
        return imported or self._is_typed(thing)

    def _is_typed(self, thing: DescribeThingResponseTypeDef) -> bool:
        return thing.get("thingTypeName") == self._stack

    def _create(self, device_id: DeviceId, attributes: dict[str, str]) -> bool:
        """Create the thing, and its type when AWS IoT lacks it; return False if there is a thing."""
        create = partial(
            self._client.create_thing,
            thingName=device_id,
            thingTypeName=self._stack,
            attributePayload={"attributes": attributes},
        )
        try:
            try:
                with answered(_GONE, _THERE):
                    create()
            except self._client.exceptions.ResourceNotFoundException:
                with answered(_THERE):
                    self._client.create_thing_type(thingTypeName=self._stack)
                    create()
        except ClientError:
            return False
        return True

    def _update(self, device_id: DeviceId, attributes: dict[str, str]) -> None:
        with answered():
            self._client.update_thing(
                thingName=device_id,
                thingTypeName=self._stack,
                # Attributes that the record no longer has are removed, too.
                attributePayload={"attributes": attributes, "merge": False},
            )

    def _join(self, device_id: DeviceId, group: str) -> bool:
        joined = self._groups(device_id)
        self._leave(device_id, joined - {group})
        return group in joined or self._add_to_group(device_id, group)

    def _groups(self, device_id: DeviceId) -> set[str]:
        """Return the names of the thing's groups."""
        pages = self._client.get_paginator("list_thing_groups_for_thing")
        with answered():
            listed = pages.paginate(thingName=device_id)
            return {each["groupName"] for page in listed for each in page["thingGroups"]}

    def _leave(self, device_id: DeviceId, groups: set[str]) -> None:
        """Take the thing out of those of the groups that are ours."""
        with answered():
            for name in sorted(groups):
                if name.startswith(self._prefix):
                    self._client.remove_thing_from_thing_group(thingGroupName=name, thingName=device_id)

    def _add_to_group(self, device_id: DeviceId, group: str) -> bool:
        """Put the thing into a group; return False if AWS IoT refuses it.

        A thing is in at most ten groups (AWS IoT endpoints and quotas, "Thing groups"), and a further one is
        an invalid request.
        """
        try:
            try:
                with answered(_GONE, _INVALID):
                    self._client.add_thing_to_thing_group(thingGroupName=group, thingName=device_id)
            except self._client.exceptions.ResourceNotFoundException:
                with answered(_INVALID):
                    self._client.create_thing_group(thingGroupName=group)
                    self._client.add_thing_to_thing_group(thingGroupName=group, thingName=device_id)
        except ClientError:
            return False
        return True

    def begin_shadow(self, device_id: DeviceId, desired: dict[str, Any]) -> None:
        """Write the thing's first shadow if it has none (GetThingShadow, UpdateThingShadow).

        A later shadow belongs to the device and the application, so an existing one is left alone.
        """
        try:
            with answered(_GONE):
                self._data.get_thing_shadow(thingName=device_id)
        except ClientError:
            payload = json.dumps({"state": {"desired": desired}})
            with answered():
                self._data.update_thing_shadow(thingName=device_id, payload=payload.encode())

    def principals(self, device_id: DeviceId) -> frozenset[str]:
        """Return what is attached to the thing; nothing without a thing (ListThingPrincipals).

        Certificates of this account are named by their ids, other principals by their ARNs.
        """
        pages = self._client.get_paginator("list_thing_principals")
        try:
            with answered(_GONE):
                listed = pages.paginate(thingName=device_id)
                principals = [principal for page in listed for principal in page["principals"]]
        except ClientError:
            return frozenset()
        return frozenset(each.removeprefix(self._certificates) for each in principals)

    def attach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Attach a certificate to the device's thing (AttachThingPrincipal)."""
        with answered():
            self._client.attach_thing_principal(thingName=device_id, principal=self._arn(certificate_id))

    def detach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Detach a certificate from the device's thing, if both exist (DetachThingPrincipal)."""
        with already(_GONE):
            self._client.detach_thing_principal(thingName=device_id, principal=self._arn(certificate_id))

    def disconnect(self, device_id: DeviceId) -> None:
        """End the device's connection and its session, if it is connected (DeleteConnection)."""
        with already(_GONE):
            # A kept session would deliver its queued messages to the next client with this id.
            self._data.delete_connection(clientId=device_id, cleanSession=True)

    def delete(self, device_id: DeviceId) -> None:
        """Delete the thing and its unnamed shadow, if they exist (DeleteThing, DeleteThingShadow).

        Named shadows are the application's, and stay. Raises Unavailable with a time while a certificate is
        attached: a detachment takes effect later (API reference, DetachThingPrincipal).
        """
        try:
            with answered(_GONE, _INVALID):
                self._client.delete_thing(thingName=device_id)
        except ClientError as error:
            if error_code(error) == _INVALID:
                log = "DeleteThing: a principal is attached"
                raise Unavailable(log=log, retry_after=AGAIN_SECONDS) from error
        with already(_GONE):
            self._data.delete_thing_shadow(thingName=device_id)

    def leave(self, device_id: DeviceId) -> None:
        """Take the thing out of the groups that are ours."""
        self._leave(device_id, self._groups(device_id))

    def _arn(self, certificate_id: str) -> str:
        return f"{self._certificates}{certificate_id}"
