"""How every queue of the stack is made: encrypted, and by TLS alone."""

from __future__ import annotations

from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_sqs as sqs
from constructs import Construct

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


class DeadLetters(Queue):
    """What could not be handled, for as long as SQS keeps anything."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(scope, construct_id, retention_period=Duration.days(14))
        acknowledge(self, {"SQS3": "This is a dead-letter queue."})
        acknowledge_serverless(self, {"SQSRedrivePolicy": "This is a dead-letter queue."})
