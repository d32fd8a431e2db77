"""A queue in SQS."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from firstboot.aws.clients import answered
from firstboot.domain.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


_BATCH = 10
"""Messages that one SendMessageBatch takes at most."""


class SqsQueue:
    """A queue that we send to, by its URL."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, body: str, delay: int = 0) -> None:
        """Send a message that arrives after `delay` seconds, 900 at most (SendMessage).

        When the reply is lost, the message may be sent twice, which every reader of our queues allows. Raises
        Unavailable.
        """
        with answered():
            self._client.send_message(QueueUrl=self._url, MessageBody=body, DelaySeconds=delay)

    def waiting(self) -> int:
        """Return about how many messages wait, delayed ones included (GetQueueAttributes).

        Raises Unavailable.
        """
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
        with answered():
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        return sum(map(int, answer["Attributes"].values()))

    def send_all(self, bodies: Iterable[str], delay: int) -> None:
        """Send messages that arrive after `delay` seconds, 900 at most (SendMessageBatch, ten at a time).

        Raises Unavailable when SQS did not take a message. Others may have been sent then; sending all again
        is harmless.
        """
        waiting = iter(bodies)
        while batch := list(islice(waiting, _BATCH)):
            entries: Any = [
                {"Id": str(index), "MessageBody": body, "DelaySeconds": delay}
                for index, body in enumerate(batch)
            ]
            with answered():
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            # SQS answers 200 although it did not take every message.
            if len(answer.get("Successful", [])) != len(batch):
                codes = sorted({each["Code"] for each in answer.get("Failed", [])})
                raise Unavailable(log=f"SendMessageBatch: {codes}")
