"""A group's enrollment budget as counters in the registry, spread over shards.

One counter would be one hot item in a storm. Every shard has its part of the limit, so their
sum is never above it, whoever counts at the same time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

from firstboot.lifecycle import Enrollment
from firstboot.ports import Limits

_PER_SHARD = 1_000
_MAX_SHARDS = 16
_RATE_ROW_SECONDS = 3_600


def counters(table: str, enrollment: Enrollment, limits: Limits | None) -> Iterator[list[dict[str, Any]]]:
    """The counter items to try a claim with, one list a try: the device's own shard first, the
    others when it is full.
    """
    if limits is None:
        yield []
        return
    shards = _shards(limits.total)
    minute = enrollment.now // 60
    rate = _counter(
        table,
        f"BUDGET#{enrollment.group}#{minute}",
        _pick(enrollment.device_id, _shards(limits.per_minute)),
        limits.per_minute,
        expires_at=enrollment.now + _RATE_ROW_SECONDS,
    )
    first = _pick(enrollment.device_id, shards)
    for step in range(shards):
        shard = (first + step) % shards
        yield [_counter(table, f"BUDGET#{enrollment.group}", shard, limits.total), rate]


def _shards(limit: int) -> int:
    return max(1, min(_MAX_SHARDS, limit // _PER_SHARD))


def _pick(device_id: str, shards: int) -> int:
    return zlib.crc32(device_id.encode()) % shards


def _counter(
    table: str, name: str, shard: int, limit: int, *, expires_at: int | None = None
) -> dict[str, Any]:
    """One more on a shard's counter, if its part of `limit` (at least 1) allows."""
    shards = _shards(limit)
    part = limit // shards + (shard < limit % shards)
    values = {":one": {"N": "1"}, ":part": {"N": str(part)}}
    expression = "ADD used :one"
    if expires_at:
        expression += " SET expiresAt = :expires"
        values[":expires"] = {"N": str(expires_at)}
    return {
        "Update": {
            "TableName": table,
            "Key": {"pk": {"S": f"{name}#{shard}"}},
            "UpdateExpression": expression,
            "ConditionExpression": "attribute_not_exists(pk) OR used < :part",
            "ExpressionAttributeValues": values,
        }
    }
