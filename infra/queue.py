"""How every queue of the stack is made: encrypted, and by TLS alone."""

from __future__ import annotations

from typing import Any

from aws_cdk import Duration, Names
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.function import Function
from infra.nag import acknowledge, acknowledge_serverless


class Queue(sqs.Queue):
    """A queue that others work off."""

    def __init__(self, scope: Construct, construct_id: str, **properties: Any) -> None:  # noqa: ANN401 - CDK's own
        super().__init__(
            scope,
            construct_id,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            **properties,
        )

    def bring_to(self, function: Function, *, batch_size: int, at_once: int) -> None:
        """Have Lambda bring the messages to `function`, which says which of them failed. Its role has what
        that takes (Lambda developer guide, "Using Lambda with Amazon SQS"); CDK's own event source
        would let it have more.
        """
        function.permit(["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"], self.queue_arn)
        function.add_event_source_mapping(
            f"SqsEventSource:{Names.node_unique_id(self.node)}",
            event_source_arn=self.queue_arn,
            batch_size=batch_size,
            max_concurrency=at_once,
            report_batch_item_failures=True,
        )


class DeadLetters(Queue):
    """What could not be handled, for as long as SQS keeps anything."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id, retention_period=Duration.days(14))
        acknowledge(self, {"SQS3": "This is a dead-letter queue."})
        acknowledge_serverless(self, {"SQSRedrivePolicy": "This is a dead-letter queue."})

    def keep_failures(
        self, function: Function, of: lambda_.CfnEventInvokeConfig | lambda_.CfnEventSourceMapping
    ) -> None:
        """Have Lambda send here what `function` failed on at last. Its role has what that takes (Lambda
        developer guide, "Capturing records of Lambda asynchronous invocations"); CDK's own
        destinations would let it have more.
        """
        kind: Any = type(of)  # each has its own of the two
        failure = kind.OnFailureProperty(destination=self.queue_arn)
        of.destination_config = kind.DestinationConfigProperty(on_failure=failure)
        function.permit(["sqs:SendMessage"], self.queue_arn)
