"""Certificates of the AWS IoT registry, as JITR and device import see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.iot.policies import IotPolicies
from firstboot.domain.aws_iot import BrokerCertificate
from firstboot.domain.names import DeviceId

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


class IotCertificates:
    """The certificates of one account and region. Every method raises Unavailable."""

    def __init__(self, client: IoTClient) -> None:
        self._client = client
        self._policies = IotPolicies(client)

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with this id, or None (DescribeCertificate)."""
        try:
            with answered("ResourceNotFoundException"):
                answer = self._client.describe_certificate(certificateId=certificate_id)
        except ClientError:
            return None
        known = answer["certificateDescription"]
        return BrokerCertificate(
            certificate_id=known["certificateId"],
            arn=known["certificateArn"],
            status=known["status"],
            pem=known["certificatePem"],
        )

    def of(self, device_id: DeviceId) -> list[str]:
        """Return the ids of the certificates attached to a device's thing, if any (ListThingPrincipals)."""
        pages = self._client.get_paginator("list_thing_principals")
        try:
            with answered("ResourceNotFoundException"):
                listed = pages.paginate(thingName=device_id)
                found = [principal for page in listed for principal in page["principals"]]
        except ClientError:
            return []
        # A principal may also be a Cognito identity, which has no certificate.
        return [principal.rpartition("/")[2] for principal in found if ":cert/" in principal]

    def groups(self, device_id: DeviceId) -> frozenset[str]:
        """Return the names of the groups of a device's thing (ListThingGroupsForThing, all pages)."""
        pages = self._client.get_paginator("list_thing_groups_for_thing")
        with answered():
            listed = pages.paginate(thingName=device_id)
            return frozenset(group["groupName"] for page in listed for group in page["thingGroups"])

    def policies(self, certificate: BrokerCertificate) -> frozenset[str]:
        """Return the names of a certificate's policies (ListAttachedPolicies, all pages)."""
        pages = self._client.get_paginator("list_attached_policies")
        with answered():
            listed = pages.paginate(target=certificate.arn)
            return frozenset(policy["policyName"] for page in listed for policy in page["policies"])

    def attach(self, certificate: BrokerCertificate, policy: str) -> None:
        """Attach a policy to a certificate (AttachPolicy). A repeat changes nothing.

        Raises PoliciesTooLarge if the certificate may have no further policy.
        """
        self._policies.attach(policy, certificate.arn)

    def set_status(self, certificate: BrokerCertificate, status: Literal["ACTIVE", "REVOKED"]) -> None:
        """Set a certificate's status (UpdateCertificate). A repeat changes nothing."""
        with answered():
            self._client.update_certificate(certificateId=certificate.certificate_id, newStatus=status)
