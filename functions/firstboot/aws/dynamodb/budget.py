"""A group's enrollment budget as counters in the table, each spread over shards.

When a whole group boots at once, a single counter would be one hot item, which DynamoDB throttles. Every
shard has a part of the limit, so the sum never exceeds it, however many processes count at the same time.
Freezing a group marks every shard of its total, because a single flag would be one item that every enrollment
reads.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from firstboot.aws.dynamodb.rows import number
from firstboot.domain.claim import Enrollment, Limits, RefusedBy
from firstboot.domain.clock import epoch, from_epoch
from firstboot.domain.names import DeviceId

# A small limit needs few shards: the writes to its counter end when the limit is reached.
_PER_SHARD = 1_000
_MAX_SHARDS = 16
_SPENT_ROW_KEPT = timedelta(hours=1)
"""How long a counter's row is kept after its minute, hour or day has ended."""

_MINUTE_SECONDS, _HOUR_SECONDS, _DAY_SECONDS = 60, 3_600, 86_400


@dataclass(frozen=True)
class Counter:
    """A count of enrollments that must not exceed `limit`.

    At `ends_at` the period ends, and the next one counts under another name. `ends_at` is None for a count
    without a period. `refused_by` is the reason that a claim above the limit is refused with.
    """

    name: str
    limit: int
    refused_by: RefusedBy
    ends_at: datetime | None = None

    @property
    def shards(self) -> int:
        """Return how many rows share the limit."""
        return max(1, min(_MAX_SHARDS, self.limit // _PER_SHARD))


def shard_keys(group: str, limits: Limits) -> list[dict[str, Any]]:
    """Return the primary keys of the rows that hold a group's total."""
    total = _total(group, limits)
    return [_key(total, shard) for shard in range(total.shards)]


def _total(group: str, limits: Limits) -> Counter:
    return Counter(f"BUDGET#{group}", limits.total, RefusedBy.TOTAL)


def _key(counter: Counter, shard: int) -> dict[str, Any]:
    return {"pk": {"S": f"{counter.name}#{shard}"}}


def counters(enrollment: Enrollment) -> list[Counter]:
    """Return the counters that an enrollment increments: its group's, and its device's of the day."""
    found, now = [], enrollment.now
    if limits := enrollment.limits:
        found += _of_group(enrollment.counted_as, limits, now)
    # Counting in the claim's transaction counts what was claimed: a repeated request claims nothing and is
    # free.
    if enrollment.per_day is not None:
        day, ends_at = _period(now, _DAY_SECONDS)
        name = f"DAY#{enrollment.device_id}#{day}"
        found.append(Counter(name, enrollment.per_day, RefusedBy.DAY, ends_at))
    return found


def _of_group(group: str, limits: Limits, now: datetime) -> list[Counter]:
    # The first counter that refuses gives the reason, so the one that is final stands first.
    found = [_total(group, limits)]
    if limits.freeze_per_hour is not None:
        hour, ends_at = _period(now, _HOUR_SECONDS)
        name = f"HOUR#{group}#{hour}"
        found.append(Counter(name, limits.freeze_per_hour, RefusedBy.THRESHOLD, ends_at))
    minute, ends_at = _period(now, _MINUTE_SECONDS)
    return [*found, Counter(f"MINUTE#{group}#{minute}", limits.per_minute, RefusedBy.RATE, ends_at)]


def _period(now: datetime, seconds: int) -> tuple[int, datetime]:
    """Return the number, counted from the epoch, of the period that `now` is in, and the period's end."""
    count = epoch(now) // seconds
    return count, from_epoch((count + 1) * seconds)


def tries(device_id: DeviceId, counted: list[Counter]) -> Iterator[list[dict[str, Any]]]:
    """Yield the counters' updates for each try of a claim.

    The first try uses the device's own shard of each counter, the next ones the shards after it. They end
    when every shard of every counter has been tried, so that no part of the limit is lost to an uneven
    distribution.
    """
    # A hash spreads the devices over the shards without a random source.
    first = zlib.crc32(device_id.encode())
    for step in range(max((counter.shards for counter in counted), default=1)):
        yield [_update(counter, (first + step) % counter.shards) for counter in counted]


def _update(counter: Counter, shard: int) -> dict[str, Any]:
    """Return the update that adds 1 to a shard's counter if its part of the limit allows it."""
    # The first shards take the remainder, so that the parts add up to the limit exactly.
    part = counter.limit // counter.shards + (shard < counter.limit % counter.shards)
    values = {":one": {"N": "1"}, ":part": {"N": str(part)}}
    expression = "ADD used :one"
    if counter.ends_at:
        expression += " SET expiresAt = :expires"
        values[":expires"] = number(counter.ends_at + _SPENT_ROW_KEPT)
    return {
        "Key": _key(counter, shard),
        "UpdateExpression": expression,
        "ConditionExpression": (
            "attribute_not_exists(frozenAt) AND (attribute_not_exists(used) OR used < :part)"
        ),
        "ExpressionAttributeValues": values,
        # A frozen counter and a full one fail the same condition. The old row tells them apart.
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
