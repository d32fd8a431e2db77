"""An SQS queue."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from firstboot.aws.clients import answered
from firstboot.domain.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


_BATCH = 10
"""Messages a SendMessageBatch takes."""


class SqsQueue:
    """A queue that we send to, by its URL."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, body: str, delay: int = 0) -> None:
        """SendMessage, to come after `delay` seconds (900 at most). After a lost reply it is sent twice,
        which every reader here can take.

        Raises Unavailable.
        """
        with answered():
            self._client.send_message(QueueUrl=self._url, MessageBody=body, DelaySeconds=delay)

    def send_all(self, bodies: Iterable[str], delay: int) -> None:
        """SendMessageBatch, as often as it takes; all to come after `delay` seconds (900 at most).

        Raises Unavailable when a message was not taken; others may have been, and a repeat is
        harmless.
        """
        waiting = iter(bodies)
        while batch := list(islice(waiting, _BATCH)):
            entries: Any = [
                {"Id": str(index), "MessageBody": body, "DelaySeconds": delay}
                for index, body in enumerate(batch)
            ]
            with answered():
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            if answer.get("Failed"):
                raise Unavailable(log=f"SendMessageBatch: {sorted({e['Code'] for e in answer['Failed']})}")
