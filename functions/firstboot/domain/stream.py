"""A batch of a table's stream."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Batch:
    """The records of a shard from the sequence number `first` to `last`, which are decimal numbers.

    DynamoDB is asked for `first` as it was written, with any zeros before it.
    """

    stream: str
    shard: str
    first: str
    last: int
