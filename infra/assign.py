"""The `assign` Lambda and the AWS IoT custom authorizer that calls it, for fleets with token issuers."""

from __future__ import annotations

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from constructs import Construct

from firstboot.assign.settings import AssignSettings
from firstboot.domain.names import PUBLISHED_FLEET_KEY
from infra.deployment import Deployment
from infra.function import Function
from infra.live import live


class Assign(Function):
    """The Lambda that reads a device's record and answers with its policies."""

    def __init__(self, scope: Construct, construct_id: str, *, deployment: Deployment) -> None:
        # AWS IoT waits five seconds for an authorizer's answer.
        super().__init__(
            scope, construct_id, code=deployment.code, handler="assign.authorize", seconds=4, memory=1024
        )
        # The audience names one deployment, so that a test stack's tokens are refused by every other stack.
        self.audience = f"urn:firstboot:{Aws.REGION}:{Aws.ACCOUNT_ID}:{Stack.of(self).stack_name}"
        self.configure(
            AssignSettings(
                table=deployment.device_records.table_name,
                bucket=deployment.store.bucket_name,
                partition=Aws.PARTITION,
                region=Aws.REGION,
                account=Aws.ACCOUNT_ID,
                audience=self.audience,
                fleet_refresh=str(deployment.configuration.fleet_refresh),
            )
        )
        deployment.device_records.permit_rows(self, "assign")
        deployment.store.permit_reading(self, PUBLISHED_FLEET_KEY)
        self._called = live(self, deployment.configuration.cold_start)
        self.authorizer = self._authorizer()

    def _authorizer(self) -> iot.CfnAuthorizer:
        """Return the custom authorizer, which alone may invoke this Lambda."""
        authorizer = iot.CfnAuthorizer(
            self,
            "Authorizer",
            authorizer_function_arn=self._called.function_arn,
            authorizer_name=Stack.of(self).stack_name,
            enable_caching_for_http=False,
            # AWS would check a second, RSA signature with a key that is pinned here. The token has its
            # issuer's signature already, and a pinned key would exclude ES256 and miss the issuer's changes
            # of keys.
            signing_disabled=True,
            status="ACTIVE",
        )
        self._called.add_permission(
            "Broker",
            principal=iam.ServicePrincipal("iot.amazonaws.com"),
            # AWS documents the authorizer's ARN alone, which has the account (AWS IoT developer guide,
            # "Authorizing AWS IoT to invoke your Lambda function"). A condition on a key that the broker did
            # not send would refuse every connection.
            source_arn=authorizer.attr_arn,
        )
        return authorizer
