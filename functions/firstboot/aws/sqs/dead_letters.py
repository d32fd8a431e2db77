"""Dead-letter queues in SQS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firstboot.aws.clients import answered
from firstboot.domain.clock import from_epoch_milliseconds
from firstboot.domain.dead_letters import Letter
from firstboot.domain.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_AT_ONCE = 10
"""Messages that one ReceiveMessage returns at most (SQS API reference, MaxNumberOfMessages)."""


@dataclass(frozen=True)
class Queues:
    """URLs of a dead-letter queue, and of the queue that its messages came from.

    `source` is None if the messages are requests of devices, which came from no queue. CDK leaves a member
    that is None out of its JSON.
    """

    dead: str
    source: str | None = None


class SqsDeadLetters:
    """A dead-letter queue, by its URLs. Every method raises Unavailable."""

    def __init__(self, sqs: SQSClient, queues: Queues) -> None:
        self._sqs = sqs
        self._queues = queues

    @property
    def is_ours(self) -> bool:
        """Return whether its messages are our own, from another queue."""
        return self._queues.source is not None

    def waiting(self) -> int:
        """Return about how many messages there are, received ones included (GetQueueAttributes)."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        with answered():
            answer = self._sqs.get_queue_attributes(QueueUrl=self._queues.dead, AttributeNames=names)
        return sum(map(int, answer["Attributes"].values()))

    def receive(self, seconds: int) -> list[Letter]:
        """Return up to ten messages, hidden from other receivers for `seconds` (ReceiveMessage).

        When the reply is lost, the messages appear again after that time.
        """
        names: Any = ["SentTimestamp"]
        with answered():
            answer = self._sqs.receive_message(
                QueueUrl=self._queues.dead,
                MaxNumberOfMessages=_AT_ONCE,
                VisibilityTimeout=seconds,
                AttributeNames=names,
                # Long polling asks every SQS server; a short poll asks some of them and may miss messages.
                WaitTimeSeconds=1,
            )
        return [
            Letter(
                each["ReceiptHandle"],
                each["Body"],
                from_epoch_milliseconds(int(each["Attributes"]["SentTimestamp"])),
            )
            for each in answer.get("Messages", [])
        ]

    def give_back(self, letter: Letter) -> None:
        """Send a message to the queue that it came from (SendMessage).

        When the reply is lost, the message may be sent twice, which the queue's reader allows. Raises
        Unavailable also if the messages came from no queue.
        """
        if self._queues.source is None:
            raise Unavailable(log="the dead-letter queue has no source")
        with answered():
            self._sqs.send_message(QueueUrl=self._queues.source, MessageBody=letter.body)

    def delete(self, letter: Letter) -> None:
        """Delete a received message (DeleteMessage). A repeat changes nothing."""
        with answered():
            self._sqs.delete_message(QueueUrl=self._queues.dead, ReceiptHandle=letter.receipt)
