"""Things of the AWS IoT registry, with their certificates and the policies of these."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.aws.clients import answered
from firstboot.aws.iot.policies import IotPolicies
from firstboot.domain.aws_iot import CertificateStatus
from firstboot.domain.names import DeviceId
from firstboot.policy.limits import check_documents
from firstboot.policy.render import Place

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_iot_data import IoTDataPlaneClient

_GONE = "ResourceNotFoundException"
_THERE = "ResourceAlreadyExistsException"


class IotThings:
    """The ports Things and Certificates of `register`.

    Names of things' types, groups and policies that are ours begin with the stack's name. Every method may be
    repeated, also after a lost reply, and raises Unavailable when AWS IoT does not answer.
    """

    def __init__(self, client: IoTClient, data: IoTDataPlaneClient, stack: str, place: Place) -> None:
        self._client = client
        self._data = data
        self._stack = stack
        self._prefix = f"{stack}-"
        self._certificates = f"arn:{place.partition}:iot:{place.region}:{place.account}:cert/"
        self._policies = IotPolicies(client)

    def ensure(self, device_id: DeviceId, group: str, attributes: dict[str, str]) -> None:
        """Create or update the device's thing, and put it into its group and no other group of ours.

        CreateThing and UpdateThing are called only where DescribeThing shows a difference.
        """
        try:
            with answered(_GONE):
                thing = self._client.describe_thing(thingName=device_id)
        except ClientError:
            self._create(device_id, attributes)
        else:
            # A thing of another type existed before its device was imported. Its attributes are its maker's:
            # replacing them would destroy what the account searches things by.
            if thing.get("thingTypeName") == self._stack and thing.get("attributes", {}) != attributes:
                self._update(device_id, attributes)
        self._join(device_id, f"{self._prefix}{group}")

    def _create(self, device_id: DeviceId, attributes: dict[str, str]) -> None:
        """Create the thing, and its type when AWS IoT lacks it.

        A thing that another process has just created is as good.
        """
        create = partial(
            self._client.create_thing,
            thingName=device_id,
            thingTypeName=self._stack,
            attributePayload={"attributes": attributes},
        )
        with _already(_THERE):
            try:
                with answered(_GONE, _THERE):
                    create()
            except self._client.exceptions.ResourceNotFoundException:
                self._client.create_thing_type(thingTypeName=self._stack)
                create()

    def _update(self, device_id: DeviceId, attributes: dict[str, str]) -> None:
        with answered():
            self._client.update_thing(
                thingName=device_id,
                thingTypeName=self._stack,
                # Attributes that the record no longer has are removed, too.
                attributePayload={"attributes": attributes, "merge": False},
            )

    def _join(self, device_id: DeviceId, group: str) -> None:
        pages = self._client.get_paginator("list_thing_groups_for_thing")
        with answered():
            listed = pages.paginate(thingName=device_id)
            joined = {each["groupName"] for page in listed for each in page["thingGroups"]}
            for other in joined - {group}:
                if other.startswith(self._prefix):
                    self._client.remove_thing_from_thing_group(thingGroupName=other, thingName=device_id)
        if group not in joined:
            self._add_to_group(device_id, group)

    def _add_to_group(self, device_id: DeviceId, group: str) -> None:
        try:
            with answered(_GONE):
                self._client.add_thing_to_thing_group(thingGroupName=group, thingName=device_id)
        except ClientError:
            with answered():
                self._client.create_thing_group(thingGroupName=group)
                self._client.add_thing_to_thing_group(thingGroupName=group, thingName=device_id)

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

    def certificates(self, device_id: DeviceId) -> frozenset[str]:
        """Return the ids of the thing's certificates; none without a thing (ListThingPrincipals)."""
        pages = self._client.get_paginator("list_thing_principals")
        try:
            with answered(_GONE):
                listed = pages.paginate(thingName=device_id)
                principals = [principal for page in listed for principal in page["principals"]]
        except ClientError:
            return frozenset()
        # A principal may also be a Cognito identity, which has no certificate.
        ours = (each for each in principals if each.startswith(self._certificates))
        return frozenset(each.removeprefix(self._certificates) for each in ours)

    def register(self, leaf: x509.Certificate) -> None:
        """Register a certificate as INACTIVE, unless it is registered (RegisterCertificateWithoutCA)."""
        # Without a registered CA, AWS IoT accepts a certificate from clients that send SNI, as ours do. The
        # issuing CA need not be registered in the account then.
        pem = leaf.public_bytes(Encoding.PEM).decode()
        with _already(_THERE):
            self._client.register_certificate_without_ca(certificatePem=pem, status="INACTIVE")

    def attach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Attach a certificate to the device's thing (AttachThingPrincipal)."""
        with answered():
            self._client.attach_thing_principal(thingName=device_id, principal=self._arn(certificate_id))

    def detach(self, device_id: DeviceId, certificate_id: str) -> None:
        """Detach a certificate from the device's thing, if both exist (DetachThingPrincipal)."""
        with _already(_GONE):
            self._client.detach_thing_principal(thingName=device_id, principal=self._arn(certificate_id))

    def set_policies(self, certificate_id: str, documents: dict[str, str]) -> None:
        """Attach exactly these of our policies to a certificate; `documents` maps names to JSON.

        Calls ListAttachedPolicies, then DetachPolicy and AttachPolicy for the difference. Policies of others
        stay. Raises PoliciesTooLarge after detaching and before attaching.
        """
        target = self._arn(certificate_id)
        attached = self._attached(target)
        ours = {name for name in attached if name.startswith(self._prefix)}
        # Surplus rights are taken first: the check below may raise.
        for name in sorted(ours - documents.keys()):
            with _already(_GONE):
                self._client.detach_policy(policyName=name, target=target)
        # Policies of others count towards AWS IoT's limit of policies, but their sizes are not known here.
        check_documents([*(len(each) for each in documents.values()), *(0 for _ in attached - ours)])
        for name in sorted(documents.keys() - ours):
            self._policies.attach(name, documents[name], target)

    def _attached(self, target: str) -> set[str]:
        pages = self._client.get_paginator("list_attached_policies")
        try:
            with answered(_GONE):
                listed = pages.paginate(target=target)
                return {policy["policyName"] for page in listed for policy in page["policies"]}
        except ClientError:
            return set()

    def set_status(self, certificate_id: str, status: CertificateStatus) -> None:
        """Set a certificate's status (UpdateCertificate).

        A certificate that AWS IoT does not have is an error for ACTIVE only: it has no rights to take.
        """
        with answered() if status == "ACTIVE" else _already(_GONE):
            self._client.update_certificate(certificateId=certificate_id, newStatus=status)

    def disconnect(self, device_id: DeviceId) -> None:
        """End the device's connection and its session, if it is connected (DeleteConnection)."""
        with _already(_GONE):
            # A kept session would deliver its queued messages to the next client with this id.
            self._data.delete_connection(clientId=device_id, cleanSession=True)

    def delete_certificate(self, certificate_id: str) -> None:
        """Delete a certificate, if it exists (DeleteCertificate)."""
        with _already(_GONE):
            self._client.delete_certificate(certificateId=certificate_id)

    def delete(self, device_id: DeviceId) -> None:
        """Delete the thing's unnamed shadow and the thing, if they exist (DeleteThingShadow, DeleteThing).

        Named shadows are the application's, and stay.
        """
        with _already(_GONE):
            self._data.delete_thing_shadow(thingName=device_id)
        with _already(_GONE):
            self._client.delete_thing(thingName=device_id)

    def _arn(self, certificate_id: str) -> str:
        return f"{self._certificates}{certificate_id}"


@contextmanager
def _already(code: str) -> Iterator[None]:
    """Pass over a refusal with `code`, by which AWS says that the wanted state exists already."""
    try:
        with answered(code):
            yield
    except ClientError:
        return
