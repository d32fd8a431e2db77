"""`register` reconciles AWS IoT's registry with the device records; its queues."""

from __future__ import annotations

from typing import cast

from aws_cdk import Aws, Duration, Names, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from firstboot.domain.names import CERTIFICATES_PREFIX, PUBLISHED_FLEET_KEY
from firstboot.register.settings import ChangesSettings, RegisterSettings
from infra.deployment import Deployment
from infra.function import Function
from infra.iot import arn, spelled
from infra.nag import acknowledge, acknowledge_serverless, arn_of
from infra.queue import DeadLetters, Queue
from infra.storage import DeviceRecords, Store

_SECONDS = 60
"""A batch's time. Lambda's own advice is to hide its messages for six times as long (developer guide,
"Using Lambda with Amazon SQS")."""

_TRIES = 5
_BATCH = 5

# Of the quota of 10 a second, a first reconciliation takes one RegisterCertificate and one UpdateCertificate.
_AT_ONCE = 10
_URGENT_AT_ONCE = 5

# Service authorization reference, "Actions, resources, and condition keys for AWS IoT".
_AWS_IOT = {
    ("thing/*",): [
        *("CreateThing", "DeleteThing", "DeleteThingShadow", "DescribeThing", "GetThingShadow"),
        *("ListThingGroupsForThing", "ListThingPrincipals", "UpdateThing", "UpdateThingShadow"),
    ],
    ("thing/*", "cert/*"): ["AttachThingPrincipal", "DetachThingPrincipal"],
    ("thing/*", "thinggroup/{stack}-*"): ["AddThingToThingGroup", "RemoveThingFromThingGroup"],
    ("thinggroup/{stack}-*",): ["CreateThingGroup"],
    ("thingtype/{stack}",): ["CreateThingType"],
    ("cert/*",): ["AttachPolicy", "DeleteCertificate", "DetachPolicy", "UpdateCertificate"],
    ("policy/{stack}-*",): ["CreatePolicy"],
    ("client/*",): ["DeleteConnection"],
    ("*",): ["ListAttachedPolicies", "RegisterCertificateWithoutCA"],
}
_WILDCARDS = {
    "thing/*": "A thing has its device's name, which may be any.",
    "cert/*": "A certificate's id is its hash.",
    "client/*": "A client has its device's name, which may be any.",
    "thinggroup/{stack}-*": "One a group of the fleet, which a published fleet may add.",
    "policy/{stack}-*": "One a grant of the fleet, which a published fleet may add.",
}


class Queues(Construct):
    """The queues of orders to reconcile a device: `rate_limited` through the rate limiter, `urgent` past it;
    `dead` holds what always failed. The construct id of the first is "Paced".
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.dead = DeadLetters(self, "Dead")
        dead_letters = sqs.DeadLetterQueue(queue=self.dead, max_receive_count=_TRIES)
        hidden = Duration.seconds(6 * _SECONDS)
        self.rate_limited, self.urgent = (
            Queue(self, name, dead_letter_queue=dead_letters, visibility_timeout=hidden)
            for name in ("Paced", "Urgent")
        )


class Register(Construct):
    """`work` reconciles AWS IoT with a device record; `changes` orders it from the table's stream."""

    def __init__(self, scope: Construct, construct_id: str, *, deployment: Deployment) -> None:
        super().__init__(scope, construct_id)
        self.queues = Queues(self, "Queues")
        self.work = Function(
            self, "Work", code=deployment.code, handler="register.work", seconds=_SECONDS, memory=1024
        )
        self.changes = Function(
            self, "Changes", code=deployment.code, handler="register.changes", seconds=30, memory=1024
        )
        self._work(deployment)
        self._changes(deployment.device_records)
        self._tell_of_certificates(deployment.store)

    def _work(self, deployment: Deployment) -> None:
        device_records, store = deployment.device_records, deployment.store
        configuration, queues = deployment.configuration, self.queues
        stack = Stack.of(self).stack_name
        self.work.configure(
            RegisterSettings(
                table=device_records.table_name,
                bucket=store.bucket_name,
                stack=stack,
                partition=Aws.PARTITION,
                region=Aws.REGION,
                account=Aws.ACCOUNT_ID,
                queue=queues.rate_limited.queue_url,
                iot_rate=str(configuration.iot_rate),
                fleet_refresh=str(configuration.fleet_refresh),
            )
        )
        for queue, at_once in ((queues.rate_limited, _AT_ONCE), (queues.urgent, _URGENT_AT_ONCE)):
            queue.bring_to(self.work, batch_size=_BATCH, at_once=at_once)
        acknowledge_serverless(
            self.work, {"LambdaEventSourceMappingDestination": "The queues have dead letters of their own."}
        )
        self.work.permit(
            ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:UpdateItem"], device_records.table_arn
        )
        self.work.permit(["sqs:SendMessage"], queues.rate_limited.queue_arn)
        store.permit_reading(self.work, PUBLISHED_FLEET_KEY, f"{CERTIFICATES_PREFIX}*")
        acknowledge(
            self.work.own_role,
            {f"IAM5[Resource::{arn_of(store)}/{CERTIFICATES_PREFIX}*]": "One object a certificate."},
        )
        self._permit_aws_iot(stack)

    def _permit_aws_iot(self, stack: str) -> None:
        """Let `work` call AWS IoT: on every thing and certificate, and on our policies and groups."""
        for resources, actions in _AWS_IOT.items():
            named = [each if each == "*" else arn(each.format(stack=stack)) for each in resources]
            self.work.permit([f"iot:{action}" for action in actions], *named)
        reasons = {spelled(name.format(stack=stack)): reason for name, reason in _WILDCARDS.items()}
        reasons["*"] = (
            "ListAttachedPolicies, RegisterCertificateWithoutCA and X-Ray's calls name no resource."
        )
        acknowledge(
            self.work.own_role, {f"IAM5[Resource::{name}]": reason for name, reason in reasons.items()}
        )

    def _changes(self, device_records: DeviceRecords) -> None:
        queues = self.queues
        self.changes.configure(
            ChangesSettings(queue=queues.rate_limited.queue_url, urgent_queue=queues.urgent.queue_url)
        )
        self.changes.permit(["sqs:SendMessage"], queues.rate_limited.queue_arn, queues.urgent.queue_arn)
        devices = {"dynamodb": {"Keys": {"pk": {"S": lambda_.FilterRule.begins_with("DEV#")}}}}
        self.changes.add_event_source(
            sources.DynamoEventSource(
                device_records,
                starting_position=lambda_.StartingPosition.TRIM_HORIZON,
                batch_size=100,
                # A record is removed when AWS IoT has been cleared: there is nothing to reconcile.
                filters=[
                    lambda_.FilterCriteria.filter(
                        {"eventName": lambda_.FilterRule.or_("INSERT", "MODIFY")} | devices
                    )
                ],
                retry_attempts=_TRIES,
                bisect_batch_on_error=True,
            )
        )
        source = f"DynamoDBEventSource:{Names.node_unique_id(device_records.node)}"
        mapping = self.changes.node.find_child(source)
        made = cast("lambda_.CfnEventSourceMapping", mapping.node.default_child)
        queues.dead.keep_failures(self.changes, made)

    def _tell_of_certificates(self, store: Store) -> None:
        """S3 tells the queue of every new certificate.

        By the bucket's own property: CDK's notification would come with a Lambda that may change every
        bucket's. The queue's policy names the account and no bucket, since the bucket comes after it.
        """
        queue = self.queues.rate_limited
        queue.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("s3.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[queue.queue_arn],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        bucket = cast("s3.CfnBucket", store.node.default_child)
        rule = s3.CfnBucket.FilterRuleProperty(name="prefix", value=CERTIFICATES_PREFIX)
        bucket.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            queue_configurations=[
                s3.CfnBucket.QueueConfigurationProperty(
                    event="s3:ObjectCreated:*",
                    queue=queue.queue_arn,
                    filter=s3.CfnBucket.NotificationFilterProperty(
                        s3_key=s3.CfnBucket.S3KeyFilterProperty(rules=[rule])
                    ),
                )
            ]
        )
        # S3 tries the queue when it is told of it.
        bucket.add_resource_dependency(
            cast("sqs.CfnQueuePolicy", queue.node.find_child("Policy").node.default_child)
        )
