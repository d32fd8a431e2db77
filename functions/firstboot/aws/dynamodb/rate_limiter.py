"""The rate limiter of AWS IoT's control plane: one row in the table, which all processes share."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain import rate_limiter
from firstboot.domain.clock import EPOCH, epoch_milliseconds, from_epoch_milliseconds
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import RATE_LIMITER_KEY
from firstboot.domain.rate_limiter import Priority, Slot

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEY = {"pk": {"S": RATE_LIMITER_KEY}}
_TRIES = 3
_REMEMBERED = timedelta(seconds=3)
"""How long a process answers with the backlog that it read last."""


class DynamoRateLimiter(DynamoTable):
    """The next free slot, and when the backlog will have been handled, in epoch milliseconds."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        super().__init__(client, table)
        self._until = EPOCH
        self._due = EPOCH

    def take(self, now: datetime, rate: float, priority: Priority, share: float = 1) -> Slot:
        """Take the next slot if the priority may have it, otherwise return when to ask again.

        There are `rate` slots a second, of which this takes `share`. A slot is `now` at the earliest. There
        is one UpdateItem while the row's time is ahead of `now`, otherwise two: the second starts at `now`.
        When a reply is lost, one slot stays unused. Raises Unavailable.
        """
        gap, ahead = rate_limiter.interval(rate, share), rate_limiter.ahead(priority, rate)
        for _ in range(_TRIES):
            following = self._move("SET #next = #next + :gap", _reachable(ahead), now, gap, ahead)
            if following is None:
                # The row was behind `now`, unless another process has moved it since. Then the next round
                # finds it ahead.
                idle = "attribute_not_exists(#next) OR #next < :now"
                following = self._move("SET #next = :now + :gap", idle, now, gap)
            if isinstance(following, Slot):
                return following
            if following is not None:
                return Slot(following - gap, taken=True)
        raise Unavailable(log="the rate limiter's row changed between each two updates")

    def _move(
        self,
        expression: str,
        condition: str,
        now: datetime,
        gap: timedelta,
        ahead: timedelta | None = None,
    ) -> datetime | Slot | None:
        """Return the row's new time, when to ask again if too many slots are taken, or None if it is behind.

        None also means that another process moved it at the same time.
        """
        values = {":now": _number(now), ":gap": {"N": str(gap // timedelta(milliseconds=1))}}
        if ahead is not None:
            values[":most"] = _number(now + ahead)
        try:
            with answered("ConditionalCheckFailedException"):
                row = self._updated(
                    Key=_KEY,
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    # `next` is a reserved word of DynamoDB.
                    ExpressionAttributeNames={"#next": "next"},
                    ExpressionAttributeValues=values,
                    ReturnValues="UPDATED_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except ClientError as error:
            return _later(error, now, ahead)
        return _time(row["next"])

    def note_backlog(self, waiting: int, now: datetime, rate: float) -> int:
        """Write when `waiting` orders will have been handled (UpdateItem); return how many seconds it takes.

        The last process to write wins. Raises Unavailable.
        """
        until = now + waiting * rate_limiter.interval(rate)
        with answered():
            self._client.update_item(
                TableName=self._table,
                Key=_KEY,
                UpdateExpression="SET backlogUntil = :until",
                ExpressionAttributeValues={":until": _number(until)},
            )
        return _seconds(until - now)

    def backlog_seconds(self, now: datetime) -> int:
        """Return the seconds until an order that is sent now is handled; 0 if it is handled at once.

        There is one GetItem every few seconds at most. When DynamoDB does not answer, what was read last
        counts: the number is advice to a device, and not worth refusing its request.
        """
        if now >= self._due:
            with suppress(Unavailable):
                row = self._get(_KEY) or {}
                self._until = _time(row["backlogUntil"]) if "backlogUntil" in row else EPOCH
            self._due = now + _REMEMBERED
        return max(0, _seconds(self._until - now))


def _reachable(ahead: timedelta | None) -> str:
    return "#next >= :now" if ahead is None else "#next >= :now AND #next <= :most"


def _later(error: ClientError, now: datetime, ahead: timedelta | None) -> Slot | None:
    """Return when to ask again, by the row that failed a condition; None if its time is not ahead."""
    row: Any = error.response.get("Item") or {}
    following = _time(row["next"]) if "next" in row else EPOCH
    if ahead is None or following <= now + ahead:
        return None
    return Slot(following - ahead, taken=False)


def _number(moment: datetime) -> dict[str, str]:
    return {"N": str(epoch_milliseconds(moment))}


def _time(value: Any) -> datetime:  # noqa: ANN401 - an attribute as botocore types it
    return from_epoch_milliseconds(int(value["N"]))


def _seconds(length: timedelta) -> int:
    return math.ceil(length.total_seconds())
