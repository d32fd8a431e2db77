"""The constructs of which the stack's queues are made: encrypted, and reached over TLS only."""

from __future__ import annotations

from typing import Any

from aws_cdk import Duration, Names
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.function import Function
from infra.nag import acknowledge, acknowledge_serverless


class Queue(sqs.Queue):
    """An encrypted queue that refuses requests without TLS."""

    def __init__(self, scope: Construct, construct_id: str, **properties: Any) -> None:  # noqa: ANN401 - CDK's own
        super().__init__(
            scope,
            construct_id,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            **properties,
        )

    def bring_to(self, function: Function, *, batch_size: int, at_once: int) -> None:
        """Have Lambda invoke `function` with messages, in up to `at_once` batches at a time.

        The function reports which messages of a batch failed.
        """
        # These actions are all that Lambda needs (Lambda developer guide, "Using Lambda with Amazon SQS").
        # CDK's own event source would grant more.
        function.permit(["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"], self.queue_arn)
        function.add_event_source_mapping(
            # The id that CDK's event source would have given it, so that a deployed mapping is not replaced.
            f"SqsEventSource:{Names.node_unique_id(self.node)}",
            event_source_arn=self.queue_arn,
            batch_size=batch_size,
            max_concurrency=at_once,
            report_batch_item_failures=True,
        )

    def keep_failures(
        self, function: Function, of: lambda_.CfnEventInvokeConfig | lambda_.CfnEventSourceMapping
    ) -> None:
        """Have Lambda send to this queue what `function` has failed on for the last time."""
        kind: Any = type(of)  # each class has property classes of its own
        failure = kind.OnFailureProperty(destination=self.queue_arn)
        of.destination_config = kind.DestinationConfigProperty(on_failure=failure)
        # This action is all that Lambda needs (Lambda developer guide, "Capturing records of Lambda
        # asynchronous invocations"). CDK's own destinations would grant more.
        function.permit(["sqs:SendMessage"], self.queue_arn)


class DeadLetters(Queue):
    """A queue of messages that could not be handled. It keeps them for 14 days, SQS's maximum."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id, retention_period=Duration.days(14))
        acknowledge(self, {"SQS3": "This is a dead-letter queue."})
        acknowledge_serverless(self, {"SQSRedrivePolicy": "This is a dead-letter queue."})
