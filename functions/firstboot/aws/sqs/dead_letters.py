"""Dead-letter queues in SQS, and the way back from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firstboot.aws.clients import answered
from firstboot.domain.dead_letters import Failed, Letter, Lost

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

_HELD_SECONDS = 60
_AT_ONCE = 10
"""SQS gives no more (ReceiveMessage, MaxNumberOfMessages)."""


@dataclass(frozen=True)
class Queues:
    """URLs: of a dead-letter queue, and of the queue whose letters it holds; None if they are
    requests that no queue held before. (CDK leaves a member that is None out of its JSON.)
    """

    dead: str
    source: str | None = None


class SqsDeadLetters:
    """The DeadLetters of `queues`. `tell` is told the client's topic of refusals."""

    def __init__(
        self,
        sqs: SQSClient,
        functions: LambdaClient,
        queues: Queues,
        tell: Callable[[str], None],
    ) -> None:
        self._sqs = sqs
        self._functions = functions
        self._queues = queues
        self._tell = tell

    def waiting(self) -> int:
        """GetQueueAttributes: about how many letters there are, those held included."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        with answered():
            answer = self._sqs.get_queue_attributes(QueueUrl=self._queues.dead, AttributeNames=names)
        return sum(map(int, answer["Attributes"].values()))

    def receive(self) -> list[Letter]:
        """ReceiveMessage. Its long poll asks every server: a short one may miss letters."""
        with answered():
            answer = self._sqs.receive_message(
                QueueUrl=self._queues.dead,
                MaxNumberOfMessages=_AT_ONCE,
                VisibilityTimeout=_HELD_SECONDS,
                WaitTimeSeconds=1,
            )
        return [Letter(each["ReceiptHandle"], each["Body"]) for each in answer.get("Messages", [])]

    def again(self, failed: Failed) -> None:
        """Invoke, asynchronously. What a letter names is in a queue of ours, but only functions
        that this role may invoke can be reached by it.
        """
        with answered():
            self._functions.invoke(
                FunctionName=failed.function_arn,
                InvocationType="Event",
                Payload=json.dumps(failed.event).encode(),
            )

    def tell(self, lost: Lost) -> None:
        """Publish a refusal that says: again."""
        self._tell(lost.call.rejected_topic(lost.client_id))

    def give_back(self, body: str) -> None:
        """SendMessage."""
        with answered():
            self._sqs.send_message(QueueUrl=self._queues.source or "", MessageBody=body)

    def delete(self, letter: Letter) -> None:
        """DeleteMessage."""
        with answered():
            self._sqs.delete_message(QueueUrl=self._queues.dead, ReceiptHandle=letter.receipt)
