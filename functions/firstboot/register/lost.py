"""Order reconciliations for the batches of the table's stream that `changes` failed on for the last time.

Lambda's letter about such a batch has no records, only their place in the stream. They are read from there
again. The keys alone are used, because the batch may have failed on an image.

Source: Lambda developer guide, "Retaining discarded batches for a DynamoDB Streams event source in Lambda".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import msgspec

from firstboot.domain.clock import whole_seconds
from firstboot.domain.names import DeviceId
from firstboot.domain.rate_limiter import Priority
from firstboot.domain.stream import Batch
from firstboot.register.handlers import Queues
from firstboot.register.messages import Order
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.guard import Guard
from firstboot.runtime.messages import convert, parse_json


class Stream(Protocol):
    """The table's stream."""

    def devices(self, batch: Batch) -> Iterable[DeviceId]:
        """Return the devices whose records changed in a batch.

        Raises Unavailable, also when the stream has the batch no longer.
        """


class _Place(msgspec.Struct, frozen=True, rename="camel"):
    """The place of a batch in a stream. Sequence numbers are decimal numbers."""

    stream_arn: str
    shard_id: str
    start_sequence_number: str
    end_sequence_number: str


class Letter(msgspec.Struct, frozen=True):
    """A record that Lambda sends to the on-failure destination. Its other members are ignored."""

    batch: _Place = msgspec.field(name="DDBStreamBatchInfo")


def parse(body: str) -> Batch:
    """Return the batch that a letter is about.

    Raises MalformedJson, MalformedRequest.
    """
    place = convert(Letter, parse_json(body)).batch
    first, last = place.start_sequence_number, place.end_sequence_number
    if not (first.isdecimal() and last.isdecimal()):
        raise MalformedRequest(log="a sequence number is no number")
    return Batch(place.stream_arn, place.shard_id, first, int(last))


@dataclass(frozen=True)
class Lost:
    """The handler of the letters about lost batches. The dead letter of one that fails rings."""

    stream: Stream
    queues: Queues
    guard: Guard

    def __call__(self, record: dict[str, Any], now: datetime) -> None:
        """Handle an SQS record. After a failure SQS delivers it again; an order may come twice."""
        devices = sorted(set(self.stream.devices(parse(record["body"]))))
        self.guard.warning("batch lost", devices=len(devices))
        for device in devices:
            # They are few, and a revocation may be among them.
            self.queues.send(Order(device, whole_seconds(now), Priority.REVOCATION))
            self.guard.count("RegistrationOrdered")
