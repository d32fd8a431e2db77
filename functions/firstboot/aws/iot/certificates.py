"""Certificates in AWS IoT. Its control plane takes ten calls of a kind a second."""

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
    """The BrokerCertificates port."""

    def __init__(self, client: IoTClient) -> None:
        self._client = client
        self._policies = IotPolicies(client)

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """DescribeCertificate."""
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
        """ListThingPrincipals. A principal may also be a Cognito identity, which has no certificate."""
        pages = self._client.get_paginator("list_thing_principals")
        try:
            with answered("ResourceNotFoundException"):
                listed = pages.paginate(thingName=device_id)
                found = [principal for page in listed for principal in page["principals"]]
        except ClientError:
            return []
        return [principal.rpartition("/")[2] for principal in found if ":cert/" in principal]

    def attach(self, certificate: BrokerCertificate, policy: str, document: str) -> None:
        """AttachPolicy, and CreatePolicy before it if need be. One that is attached already stays so."""
        self._policies.attach(policy, document, certificate.arn)

    def set_status(self, certificate: BrokerCertificate, status: Literal["ACTIVE", "REVOKED"]) -> None:
        """UpdateCertificate. A lost reply is repeated to the same end."""
        with answered():
            self._client.update_certificate(certificateId=certificate.certificate_id, newStatus=status)
