"""A group's enrollment budget as counters in the table, each spread over shards.

When a whole group boots at once, a single counter would be one hot item, which DynamoDB throttles. Every
shard has a part of the limit, so the sum never exceeds it, however many processes count at the same time.
Freezing a group marks every shard of its total, because a single flag would be one item that every enrollment
reads.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from firstboot.aws.dynamodb.rows import Row, number
from firstboot.domain.claim import NAME_GUESSES_PER_HOUR, Enrollment, Limits, RefusedBy
from firstboot.domain.clock import epoch, from_epoch
from firstboot.domain.enrollments import pause_between
from firstboot.domain.names import DeviceId

# A small limit needs few shards: the writes to its counter end when the limit is reached.
_PER_SHARD = 1_000
_MAX_SHARDS = 16
_SPENT_ROW_KEPT = timedelta(hours=1)
"""How long a counter's row is kept after its minute, hour or day has ended."""

_MINUTE_SECONDS, _HOUR_SECONDS, _DAY_SECONDS = 60, 3_600, 86_400


@dataclass(frozen=True)
class Pause:
    """The time `now` of a count, and the time `again_at` from which the next one may exceed the limit."""

    now: datetime
    again_at: datetime


@dataclass(frozen=True)
class Counter:
    """A count of enrollments, or of refused names, that must not exceed `limit`.

    At `ends_at` the period ends, and the next one counts under another name. `ends_at` is None for a count
    without a period. `refused_by` is the reason that a claim above the limit is refused with. With a `pause`
    the count may exceed the limit by one after each pause.
    """

    name: str
    limit: int
    refused_by: RefusedBy
    ends_at: datetime | None = None
    pause: Pause | None = None

    @property
    def shards(self) -> int:
        """Return how many rows share the limit."""
        # A pause is one device's, whose claims don't come at the same moment.
        return 1 if self.pause else max(1, min(_MAX_SHARDS, self.limit // _PER_SHARD))


@dataclass(frozen=True)
class Shard:
    """One of the rows that share a counter's limit. `number` counts them from 0."""

    counter: Counter
    number: int

    @property
    def key(self) -> Row:
        """Return the primary key of the row."""
        return {"pk": {"S": f"{self.counter.name}#{self.number}"}}

    @property
    def limit(self) -> int:
        """Return the row's part of the limit."""
        # The first shards take the remainder, so that the parts add up to the limit exactly.
        counter = self.counter
        return counter.limit // counter.shards + (self.number < counter.limit % counter.shards)

    def others(self) -> Iterator[Shard]:
        """Yield the counter's other shards, beginning with the next one."""
        for step in range(1, self.counter.shards):
            yield replace(self, number=(self.number + step) % self.counter.shards)

    def refusal(self, row: Row | None) -> RefusedBy | None:
        """Return why `row`, the shard's row, takes no further count; None if it takes one.

        A frozen row takes none, even if it has room.
        """
        if row and "frozenAt" in row:
            return RefusedBy.FROZEN
        used = int(row["used"]["N"]) if row and "used" in row else 0
        pause, again = self.counter.pause, again_at(row)
        is_over = pause is not None and again is not None and again <= pause.now
        return self.counter.refused_by if used >= self.limit and not is_over else None

    def check(self) -> dict[str, Any]:
        """Return the check that the row takes a further count. It has the conditions of `refusal`."""
        room, values = "attribute_not_exists(used) OR used < :part", {":part": {"N": str(self.limit)}}
        if self.counter.pause:
            room, values[":now"] = f"{room} OR againAt <= :now", number(self.counter.pause.now)
        return {
            "Key": self.key,
            "ConditionExpression": f"attribute_not_exists(frozenAt) AND ({room})",
            "ExpressionAttributeValues": values,
        }

    def update(self) -> dict[str, Any]:
        """Return the update that adds 1 to the row if it takes a further count."""
        update = self.check()
        update["ExpressionAttributeValues"][":one"] = {"N": "1"}
        expression = "ADD used :one"
        if self.counter.ends_at:
            expression += " SET expiresAt = :expires"
            update["ExpressionAttributeValues"][":expires"] = number(self.counter.ends_at + _SPENT_ROW_KEPT)
        if self.counter.pause:
            expression += ", againAt = :again"
            update["ExpressionAttributeValues"][":again"] = number(self.counter.pause.again_at)
        # A frozen counter and a full one fail the same condition. The old row tells them apart.
        return update | {"UpdateExpression": expression, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}


def again_at(row: Row | None) -> datetime | None:
    """Return when a count above the limit is taken again, or None if not before the period ends."""
    return from_epoch(int(row["againAt"]["N"])) if row and "againAt" in row else None


def shard_keys(group: str, limits: Limits) -> list[Row]:
    """Return the primary keys of the rows that hold a group's total."""
    total = _total(group, limits)
    return [Shard(total, number).key for number in range(total.shards)]


def _total(group: str, limits: Limits) -> Counter:
    return Counter(f"BUDGET#{group}", limits.total, RefusedBy.TOTAL)


def own(counter: Counter, device_id: DeviceId) -> Shard:
    """Return the shard of a counter that a device's claims try first."""
    # A hash spreads the devices over the shards without a random source.
    return Shard(counter, zlib.crc32(device_id.encode()) % counter.shards)


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
        pause = Pause(now, now + pause_between(enrollment.per_day))
        found.append(Counter(name, enrollment.per_day, RefusedBy.DAY, ends_at, pause))
    return found


def _of_group(group: str, limits: Limits, now: datetime) -> list[Counter]:
    found = [_total(group, limits)]
    if limits.freeze_per_hour is not None:
        hour, ends_at = _period(now, _HOUR_SECONDS)
        name = f"HOUR#{group}#{hour}"
        found.append(Counter(name, limits.freeze_per_hour, RefusedBy.THRESHOLD, ends_at))
    minute, ends_at = _period(now, _MINUTE_SECONDS)
    return [*found, Counter(f"MINUTE#{group}#{minute}", limits.per_minute, RefusedBy.RATE, ends_at)]


def guesses(identifier: str, now: datetime) -> Shard:
    """Return the one row that counts the names that a claim certificate was refused with in this hour."""
    hour, ends_at = _period(now, _HOUR_SECONDS)
    name = f"GUESS#{identifier}#{hour}"
    return Shard(Counter(name, NAME_GUESSES_PER_HOUR, RefusedBy.GUESSES, ends_at), 0)


def _period(now: datetime, seconds: int) -> tuple[int, datetime]:
    """Return the number, counted from the epoch, of the period that `now` is in, and the period's end."""
    count = epoch(now) // seconds
    return count, from_epoch((count + 1) * seconds)
