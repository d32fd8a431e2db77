"""The pace of AWS IoT's control plane, for all processes together: one row in the registry's table."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain import rate_limiter as pace
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import PACE_KEY

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_KEY = {"pk": {"S": PACE_KEY}}
_TRIES = 3
_REMEMBERED = 3_000
"""Milliseconds for which a process answers with the backlog that it read last."""


class Pace(DynamoTable):
    """Slots, one after the other. All times are in epoch milliseconds, unless they say seconds."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        super().__init__(client, table)
        self._next = 0
        self._due = 0

    def reserve(self, now: int, rate: float) -> int:
        """The next slot, at `rate` slots a second: now, or when those who came before are done.

        UpdateItem, or two: the row's time goes on while it is ahead, and starts at `now` when it is
        not. A lost reply costs a slot, nothing else. Raises Unavailable.
        """
        gap = pace.interval(rate)
        for _ in range(_TRIES):
            ahead = self._move("SET #next = #next + :gap", "#next >= :now", now, gap)
            if ahead is None:
                idle = "attribute_not_exists(#next) OR #next < :now"
                ahead = self._move("SET #next = :now + :gap", idle, now, gap)
            if ahead is not None:
                return ahead - gap
        raise Unavailable(log="the pace's row changed again and again")

    def _move(self, expression: str, condition: str, now: int, gap: int) -> int | None:
        try:
            with answered("ConditionalCheckFailedException"):
                answer = self._client.update_item(
                    TableName=self._table,
                    Key=_KEY,
                    UpdateExpression=expression,
                    ConditionExpression=condition,
                    ExpressionAttributeNames={"#next": "next"},
                    ExpressionAttributeValues={":now": {"N": str(now)}, ":gap": {"N": str(gap)}},
                    ReturnValues="UPDATED_NEW",
                )
        except ClientError:
            return None
        return int(answer["Attributes"]["next"]["N"])

    def backlog(self, now: int) -> int:
        """Seconds until one who comes now is served; 0 if that is at once. GetItem, but for some
        seconds what it said last; and so when the table does not answer, since nobody should be
        refused for want of a hint.
        """
        if now >= self._due:
            with suppress(Unavailable):
                row = self._get(_KEY)
                self._next = int(row["next"]["N"]) if row else 0
            self._due = now + _REMEMBERED
        return pace.backlog(self._next, now)
