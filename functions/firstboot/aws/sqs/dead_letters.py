"""Dead-letter queues in SQS, and the way back from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firstboot.aws.clients import answered
from firstboot.domain.dead_letters import Letter

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_HELD_SECONDS = 60
_AT_ONCE = 10
"""SQS gives no more (ReceiveMessage, MaxNumberOfMessages)."""


@dataclass(frozen=True)
class Queues:
    """URLs of a dead-letter queue, and of the queue whose letters it holds.

    `source` is None for requests that no queue held before. (CDK leaves a member that is None out of its
    JSON.)
    """

    dead: str
    source: str | None = None


class SqsDeadLetters:
    """A dead-letter queue, by its URLs."""

    def __init__(self, sqs: SQSClient, queues: Queues) -> None:
        self._sqs = sqs
        self._queues = queues

    def waiting(self) -> int:
        """GetQueueAttributes: about how many letters there are, held ones included."""
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

    def give_back(self, body: str) -> bool:
        """SendMessage to the queue that the letters came from; False if there is none."""
        if self._queues.source is None:
            return False
        with answered():
            self._sqs.send_message(QueueUrl=self._queues.source, MessageBody=body)
        return True

    def delete(self, letter: Letter) -> None:
        """DeleteMessage."""
        with answered():
            self._sqs.delete_message(QueueUrl=self._queues.dead, ReceiptHandle=letter.receipt)
