"""The rate limiter of AWS IoT's control plane: one row in the table, which all processes share."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain import rate_limiter
from firstboot.domain.clock import EPOCH, epoch_milliseconds, from_epoch_milliseconds
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import RATE_LIMITER_KEY

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEY = {"pk": {"S": RATE_LIMITER_KEY}}
_TRIES = 3
_REMEMBERED = timedelta(seconds=3)
"""How long a process answers with the slot that it read last."""


class DynamoRateLimiter(DynamoTable):
    """The next free slot, in a row that holds it as epoch milliseconds."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        super().__init__(client, table)
        self._next = EPOCH
        self._due = EPOCH

    def reserve(self, now: datetime, rate: float) -> datetime:
        """Take and return the next slot, at `rate` slots a second; it is `now` if no slot is taken.

        There is one UpdateItem while the row's time is ahead of `now`, otherwise two: the second starts at
        `now`. When a reply is lost, one slot stays unused. Raises Unavailable.
        """
        gap = rate_limiter.interval(rate)
        for _ in range(_TRIES):
            ahead = self._move("SET #next = #next + :gap", "#next >= :now", now, gap)
            # The row was behind `now`, unless another process has moved it since. Then the next round finds
            # it ahead.
            if ahead is None:
                idle = "attribute_not_exists(#next) OR #next < :now"
                ahead = self._move("SET #next = :now + :gap", idle, now, gap)
            if ahead is not None:
                return ahead - gap
        raise Unavailable(log="the rate limiter's row changed between each two updates")

    def _move(self, expression: str, condition: str, now: datetime, gap: timedelta) -> datetime | None:
        try:
            with answered("ConditionalCheckFailedException"):
                answer = self._client.update_item(
                    TableName=self._table,
                    Key=_KEY,
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    # `next` is a reserved word of DynamoDB.
                    ExpressionAttributeNames={"#next": "next"},
                    ExpressionAttributeValues={
                        ":now": {"N": str(epoch_milliseconds(now))},
                        ":gap": {"N": str(gap // timedelta(milliseconds=1))},
                    },
                    ReturnValues="UPDATED_NEW",
                )
        except ClientError:
            return None
        return from_epoch_milliseconds(int(answer["Attributes"]["next"]["N"]))

    def backlog_seconds(self, now: datetime) -> int:
        """Return the seconds until a message that is sent now may be handled; 0 if it may be at once.

        There is one GetItem every few seconds at most. When DynamoDB does not answer, the slot that was read
        last counts: the number is advice to a device, and not worth refusing its request.
        """
        if now >= self._due:
            with suppress(Unavailable):
                row = self._get(_KEY)
                self._next = from_epoch_milliseconds(int(row["next"]["N"])) if row else EPOCH
            self._due = now + _REMEMBERED
        return rate_limiter.backlog_seconds(self._next, now)
