"""The table of device records and the bucket, which are retained when their stack is deleted."""

from __future__ import annotations

from typing import cast

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.function import Function
from infra.nag import acknowledge
from infra.rows import ATTRIBUTES, rows_of

PRESIGNED_AGE = 300
"""Seconds for which a presigned URL is valid, even if it states a later expiry."""


class DeviceRecords(dynamodb.TableV2):
    """The table with one item for each device. It has no index, so `devices list` scans."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        # A group that boots at once would write to one partition of an index by group, and DynamoDB would
        # throttle the table with it. The table has no name of its own, which would block the deployment of a
        # new stack beside what a deleted one left.
        super().__init__(
            scope,
            construct_id,
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            billing=dynamodb.Billing.on_demand(),
            # A restore makes another table. `console registry restore` copies its missing rows into this one.
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute="expiresAt",
            # `register` makes orders from the stream.
            dynamo_stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES,
            # A stack can be deployed again, but without their records the devices in the field can't be
            # recovered.
            deletion_protection=True,
            removal_policy=RemovalPolicy.RETAIN,
        )

    def permit_rows(self, function: Function, role: str) -> None:
        """Let `function` do with the rows of the table what the role named `role` may (infra/rows.py)."""
        for action, rows in rows_of(role).items():
            conditions = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": rows}}
            if action == "UpdateItem" and role in ATTRIBUTES:
                conditions["ForAllValues:StringEquals"] = {"dynamodb:Attributes": [*ATTRIBUTES[role]]}
            if rows:
                function.permit([f"dynamodb:{action}"], self.table_arn, conditions=conditions)


class Store(s3.Bucket):
    """The bucket of issued certificates, the CA's certificate, the truststore and the published fleet."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        # No lifecycle rule: certificates are kept for good. A certificate of ours without an object counts as
        # forged (identity/login.py), and `devices repair` needs the older versions.
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
                "S1": "Access logs would keep presigned URLs, which are secrets, in a second bucket. "
                "CloudTrail's data events record each write with the writer's identity."
            },
        )

    def permit_reading(self, function: Function, *keys: str) -> None:
        """Let `function` read `keys`, and get 404 for a missing one."""
        function.permit(["s3:GetObject"], *map(self.arn_for_objects, keys))
        # Without ListBucket S3 answers 403 for a missing object.
        function.permit(["s3:ListBucket"], self.bucket_arn)

    def notify_event_bridge(self) -> None:
        """Have the bucket send its events to EventBridge."""
        # CDK's `event_bridge_enabled` would add a Lambda that may change the notifications of all buckets. A
        # notification straight to a Lambda would be a cycle, because bucket and Lambda each need the other
        # first.
        bucket = cast("s3.CfnBucket", self.node.default_child)
        bucket.add_property_override(
            "NotificationConfiguration.EventBridgeConfiguration", {"EventBridgeEnabled": True}
        )

    def _refuse_old_urls(self) -> iam.PolicyStatement:
        """Return the statement that refuses a presigned URL older than `PRESIGNED_AGE`."""
        # s3:signatureAge is in milliseconds (Amazon S3 API reference, "Amazon S3 Signature Version 4
        # Authentication Specific Policy Keys").
        return iam.PolicyStatement(
            sid="RefuseOldUrls",
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["s3:GetObject"],
            resources=[self.arn_for_objects("certificates/*")],
            conditions={"NumericGreaterThan": {"s3:signatureAge": PRESIGNED_AGE * 1000}},
        )

    def _refuse_overwriting(self) -> iam.PolicyStatement:
        """Return the statement that refuses writes of certificates that could replace an object.

        Source: Amazon S3 user guide, "Enforce conditional writes on Amazon S3 buckets".
        """
        # The object is the fact of issuance, so it is written once.
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
