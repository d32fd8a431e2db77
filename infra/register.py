"""The `register` Lambdas, which reconcile the AWS IoT registry with the device records, and their queues."""

from __future__ import annotations

import math
from typing import cast

from aws_cdk import Aws, Duration, Names, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from firstboot.domain.names import CERTIFICATES_PREFIX, DEVICE_PREFIX, PUBLISHED_FLEET_KEY
from firstboot.register.settings import QueuesSettings, WorkSettings
from infra.deployment import Deployment
from infra.function import Function
from infra.iot import arn, spelled
from infra.nag import acknowledge, acknowledge_serverless, arn_of
from infra.queue import DeadLetters, Queue
from infra.storage import DeviceRecords, Store

_SECONDS = 60
"""The timeout of one batch."""

_TRIES = 5

_WORK_SECONDS = 0.8
"""How long an order takes at most on average, without waiting for its turn."""

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
    # AWS IoT checks AttachPolicy on the certificate alone, and has no condition key for the policy's name, so
    # a role that may attach one policy may attach every policy of the account. `register` may make and change
    # no policy: it handles each change of each device, so it could change what all devices may do.
    ("cert/*",): [
        *("AttachPolicy", "DeleteCertificate", "DescribeCertificate", "DetachPolicy", "UpdateCertificate")
    ],
    ("client/*",): ["DeleteConnection"],
    ("*",): ["ListAttachedPolicies", "ListPrincipalThings", "RegisterCertificateWithoutCA"],
}
_WILDCARDS = {
    "thing/*": "A thing has its device's id, which the template can't know.",
    "cert/*": "A certificate's id is its digest.",
    "client/*": "A client has its device's id, which the template can't know.",
    "thinggroup/{stack}-*": "Each group of the fleet has one, and a published fleet may add groups.",
}


class Queues(Construct):
    """The queues of orders to reconcile a device, one for each priority. They share `dead`."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id)
        self.dead = DeadLetters(self, "Dead")
        dead_letters = sqs.DeadLetterQueue(queue=self.dead, max_receive_count=_TRIES)
        # Six times the Lambda's timeout, by the Lambda developer guide, "Using Lambda with Amazon SQS".
        hidden = Duration.seconds(6 * _SECONDS)
        # Lambda's letters about batches of the stream that `changes` failed on. They have dead letters of
        # their own, because dead letters of orders go back to a queue of orders.
        self.lost_dead = DeadLetters(self, "LostDead")
        self.lost = Queue(
            self,
            "Lost",
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.lost_dead, max_receive_count=_TRIES),
            visibility_timeout=hidden,
            retention_period=Duration.days(14),
        )
        # Orders wait here until a worker is free, for hours when a fleet boots at once. In one queue a
        # revocation would wait behind them. "Paced" is the deployed name of the queue of registrations.
        self.urgent, self.changes, self.registrations = (
            Queue(
                self,
                name,
                dead_letter_queue=dead_letters,
                visibility_timeout=hidden,
                retention_period=Duration.days(14),
            )
            for name in ("Urgent", "Changes", "Paced")
        )

    @property
    def settings(self) -> dict[str, str]:
        """The URLs of the queues to which orders are sent, as settings."""
        return {"urgent_queue": self.urgent.queue_url, "changes_queue": self.changes.queue_url}

    def permit_orders(self, function: Function) -> None:
        """Let `function` send orders."""
        function.permit(["sqs:SendMessage"], self.urgent.queue_arn, self.changes.queue_arn)


class Register(Construct):
    """The three Lambdas: `work` carries out orders, `changes` makes orders from the table's stream.

    `lost` makes orders from what `changes` failed on.
    """

    def __init__(self, scope: Construct, construct_id: str, *, deployment: Deployment) -> None:
        super().__init__(scope, construct_id)
        self.queues = Queues(self, "Queues")
        self.work = Function(self, "Work", code=deployment.code, handler="register.work", seconds=_SECONDS)
        self.changes = Function(
            self, "Changes", code=deployment.code, handler="register.changes", seconds=30, memory=1024
        )
        self._work(deployment)
        self.lost = Function(self, "Lost", code=deployment.code, handler="register.lost", seconds=_SECONDS)
        self._changes(deployment.device_records)
        self._lost(deployment.device_records)
        self._order_for_certificates(deployment.store)

    def _work(self, deployment: Deployment) -> None:
        device_records, store = deployment.device_records, deployment.store
        configuration, queues = deployment.configuration, self.queues
        stack = Stack.of(self).stack_name
        self.work.configure(
            WorkSettings(
                table=device_records.table_name,
                bucket=store.bucket_name,
                stack=stack,
                partition=Aws.PARTITION,
                region=Aws.REGION,
                account=Aws.ACCOUNT_ID,
                **queues.settings,
                certificates_queue=queues.registrations.queue_url,
                iot_rate=str(configuration.iot_rate),
                fleet_refresh=str(configuration.fleet_refresh),
            )
        )
        # More workers than the rate needs would bring nothing and cost billed time, because a worker waits
        # inside the function for its turn. Meanwhile the next order is better in the queue than in a batch.
        at_once = max(2, math.ceil(configuration.iot_rate * _WORK_SECONDS))
        for queue in (queues.urgent, queues.changes, queues.registrations):
            queue.bring_to(self.work, batch_size=1, at_once=at_once)
        # An order that AWS IoT was not ready for is sent again to the queue that it came from, and a long
        # history is worked off in slices. The code bounds both (register/handlers.py). Lambda would stop such
        # a chain after 16 invocations.
        cast("lambda_.CfnFunction", self.work.node.default_child).recursive_loop = "Allow"
        acknowledge_serverless(
            self.work,
            {"LambdaEventSourceMappingDestination": "The queues have a dead-letter queue of their own."},
        )
        device_records.permit_rows(self.work, "register")
        queues.permit_orders(self.work)
        store.permit_reading(self.work, PUBLISHED_FLEET_KEY, f"{CERTIFICATES_PREFIX}*")
        acknowledge(
            self.work.own_role,
            {f"IAM5[Resource::{arn_of(store)}/{CERTIFICATES_PREFIX}*]": "Each certificate is an object."},
        )
        self._permit_aws_iot(stack)

    def _permit_aws_iot(self, stack: str) -> None:
        """Let `work` call AWS IoT, on all things and certificates and on the stack's groups."""
        for resources, actions in _AWS_IOT.items():
            named = [each if each == "*" else arn(each.format(stack=stack)) for each in resources]
            self.work.permit([f"iot:{action}" for action in actions], *named)
        reasons = {spelled(name.format(stack=stack)): reason for name, reason in _WILDCARDS.items()}
        reasons["*"] = (
            "ListAttachedPolicies, ListPrincipalThings, RegisterCertificateWithoutCA and X-Ray's actions "
            "have no resource type."
        )
        acknowledge(
            self.work.own_role, {f"IAM5[Resource::{name}]": reason for name, reason in reasons.items()}
        )

    def _changes(self, device_records: DeviceRecords) -> None:
        queues = self.queues
        self.changes.configure(QueuesSettings(**queues.settings))
        queues.permit_orders(self.changes)
        devices = {"dynamodb": {"Keys": {"pk": {"S": lambda_.FilterRule.begins_with(DEVICE_PREFIX)}}}}
        self.changes.add_event_source(
            sources.DynamoEventSource(
                device_records,
                starting_position=lambda_.StartingPosition.TRIM_HORIZON,
                batch_size=100,
                # REMOVE is left out: a record is deleted last, when AWS IoT has nothing of the device any
                # more.
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
        queues.lost.keep_failures(self.changes, made)

    def _lost(self, device_records: DeviceRecords) -> None:
        """Have `lost` read the batches that `changes` failed on from the stream again."""
        queues = self.queues
        self.lost.configure(QueuesSettings(**queues.settings))
        queues.lost.bring_to(self.lost, batch_size=1, at_once=2)
        acknowledge_serverless(
            self.lost,
            {"LambdaEventSourceMappingDestination": "The queue has a dead-letter queue of its own."},
        )
        self.lost.permit(["sqs:SendMessage"], queues.urgent.queue_arn)
        self.lost.permit(
            ["dynamodb:GetRecords", "dynamodb:GetShardIterator"], cast("str", device_records.table_stream_arn)
        )

    def _order_for_certificates(self, store: Store) -> None:
        """Have S3 send an order to the queue for each new certificate."""
        queue = self.queues.registrations
        # The policy names the account and not the bucket, which is made after the queue.
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
        # This sets the bucket's own property, because CDK's method would add a Lambda that may change the
        # notifications of all buckets in the account.
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
        # S3 sends a test message when the notification is set, so the queue's policy must exist by then.
        bucket.add_resource_dependency(
            cast("sqs.CfnQueuePolicy", queue.node.find_child("Policy").node.default_child)
        )
