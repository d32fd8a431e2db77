"""The table's stream, which has the changes of the last 24 hours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb import rows
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from firstboot.domain.stream import Batch

_PAGES = 100
"""The most pages of a batch. A page has up to 1,000 records or 1 MB. A batch has 100 records that passed the
event source's filter, with any number of others between them."""

_DEVICE = rows.device_key("")["pk"]["S"]


class DynamoStream:
    """The stream, by its own API."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - no stubs of this API are installed
        self._client = client

    def devices(self, batch: Batch) -> Iterator[DeviceId]:
        """Yield the devices whose records were made or changed in a batch (GetShardIterator, GetRecords).

        Raises Unavailable, also for records that DynamoDB has trimmed.
        """
        for record in self._records(batch):
            key = record["dynamodb"]["Keys"]["pk"]["S"]
            if record["eventName"] != "REMOVE" and key.startswith(_DEVICE):
                yield DeviceId(key.removeprefix(_DEVICE))

    def _records(self, batch: Batch) -> Iterator[dict[str, Any]]:
        with answered():
            iterator = self._client.get_shard_iterator(
                StreamArn=batch.stream,
                ShardId=batch.shard,
                ShardIteratorType="AT_SEQUENCE_NUMBER",
                SequenceNumber=batch.first,
            )["ShardIterator"]
        for _ in range(_PAGES):
            with answered():
                page = self._client.get_records(ShardIterator=iterator)
            for record in page["Records"]:
                if int(record["dynamodb"]["SequenceNumber"]) > batch.last:
                    return
                yield record
                if int(record["dynamodb"]["SequenceNumber"]) == batch.last:
                    return
            iterator = page.get("NextShardIterator")
            if not iterator:  # The shard has ended.
                return
        raise Unavailable(log=f"the end of the batch is not on {_PAGES} pages of the stream")
