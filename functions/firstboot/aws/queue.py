"""An SQS queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firstboot.aws.clients import answered

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Queue:
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
