"""What must outlive every deployment: the table of the device records, and the bucket."""

from __future__ import annotations

from typing import cast

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.function import Function
from infra.nag import acknowledge

PRESIGNED_AGE = 300
"""Seconds for which a presigned URL is good, whatever its own expiry says."""


class DeviceRecords(dynamodb.TableV2):
    """The table of the device records.

    It is retained, and protected against deletion as well: without its record no device in the field is
    known any more. Its construct id is "Registry".
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(
            scope,
            construct_id,
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            billing=dynamodb.Billing.on_demand(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute="expiresAt",
            # `register` follows what changes.
            dynamo_stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            deletion_protection=True,
            removal_policy=RemovalPolicy.RETAIN,
        )


class Store(s3.Bucket):
    """The bucket of certificates, the CA's own, the truststore and the published fleet."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(
            scope,
            construct_id,
            versioned=True,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            encryption=s3.BucketEncryption.S3_MANAGED,
            removal_policy=RemovalPolicy.RETAIN,
        )
        self.add_to_resource_policy(self._refuse_old_urls())
        self.add_to_resource_policy(self._refuse_overwriting())
        acknowledge(
            self,
            {
                "S1": "Access logs would keep presigned URLs, which are secrets, in a second bucket. What is "
                "written here is in CloudTrail's data events, with the writer's identity."
            },
        )

    def permit_reading(self, function: Function, *keys: str) -> None:
        """Let `function` read `keys`, and learn that one is not there."""
        function.permit(["s3:GetObject"], *map(self.arn_for_objects, keys))
        # Without it S3 answers 403 for a missing object, not 404.
        function.permit(["s3:ListBucket"], self.bucket_arn)

    def tell_event_bridge(self) -> None:
        """Send the bucket's events to EventBridge, where rules look for theirs.

        Not CDK's `event_bridge_enabled`, which sets this by a Lambda of its own, nor a notification
        to a Lambda: that needs the Lambda first, and the Lambda the bucket.
        """
        bucket = cast("s3.CfnBucket", self.node.default_child)
        bucket.add_property_override(
            "NotificationConfiguration.EventBridgeConfiguration", {"EventBridgeEnabled": True}
        )

    def _refuse_old_urls(self) -> iam.PolicyStatement:
        """Amazon S3 API reference, "Amazon S3 Signature Version 4 Authentication Specific Policy
        Keys": s3:signatureAge is in milliseconds.
        """
        return iam.PolicyStatement(
            sid="RefuseOldUrls",
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["s3:GetObject"],
            resources=[self.arn_for_objects("certificates/*")],
            conditions={"NumericGreaterThan": {"s3:signatureAge": PRESIGNED_AGE * 1000}},
        )

    def _refuse_overwriting(self) -> iam.PolicyStatement:
        """Amazon S3 user guide, "Enforce conditional writes on Amazon S3 buckets"."""
        return iam.PolicyStatement(
            sid="RefuseOverwriting",
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["s3:PutObject"],
            resources=[self.arn_for_objects("certificates/*"), self.arn_for_objects("authority/*")],
            conditions={
                "Null": {"s3:if-none-match": "true"},
                "Bool": {"s3:ObjectCreationOperation": "true"},
            },
        )
