"""The lanes' next free retry slots: one row in the table for each lane, which all processes share."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb.rows import Row, number
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import RETRY_PREFIX
from firstboot.domain.retry_slots import Lane

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_TRIES = 3
_KEPT = timedelta(days=1)
"""How long a lane's row is kept after its last use. A lane of another rate has a row of its own."""


class DynamoRetrySlots(DynamoTable):
    """The RetrySlots port."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        super().__init__(client, table)

    def take(self, lane: Lane, count: int, opens: datetime, now: datetime) -> int | None:
        """Take `count` slots that follow each other, none before `opens`; return the first.

        Return None if the next free slot is further ahead of `now` than the lane allows. There is one
        UpdateItem while the row is ahead of `opens`, otherwise two. When a reply is lost, the block stays
        unused. Raises Unavailable.
        """
        first, most = lane.first(opens), lane.last(now)
        values = {
            ":count": _number(count),
            ":first": _number(first),
            ":expires": number(max(opens, now) + (lane.longest or timedelta()) + _KEPT),
        }
        reachable = "#next >= :first"
        for _ in range(_TRIES):
            bound = {} if most is None else {":most": _number(most)}
            condition = reachable if most is None else f"{reachable} AND #next <= :most"
            stored, is_taken = self._move(lane, "SET #next = #next + :count", condition, values | bound)
            if is_taken:
                return stored - count
            if most is not None and stored > most:
                return None
            # The row was behind `opens`, unless another process has moved it since. Then the next round
            # finds it ahead.
            idle = "attribute_not_exists(#next) OR #next < :first"
            if self._move(lane, "SET #next = :first + :count", idle, values)[1]:
                return first
        raise Unavailable(log=f"lane {lane.name}: the row changed between each two updates")

    def _move(self, lane: Lane, expression: str, condition: str, values: Row) -> tuple[int, bool]:
        """Return the row's number, and whether this update has moved it. A row that is missing has 0."""
        try:
            with answered("ConditionalCheckFailedException"):
                answer: Any = self._client.update_item(
                    TableName=self._table,
                    Key=_key(lane),
                    UpdateExpression=f"{expression}, expiresAt = :expires",
                    ConditionExpression=condition,
                    # `next` is a reserved word of DynamoDB.
                    ExpressionAttributeNames={"#next": "next"},
                    ExpressionAttributeValues=values,
                    ReturnValues="UPDATED_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except ClientError as error:
            row: Any = error.response.get("Item") or {}
            return int(row["next"]["N"]) if "next" in row else 0, False
        return int(answer["Attributes"]["next"]["N"]), True


def _key(lane: Lane) -> Row:
    # The number of a slot means a time at one rate only, so the rate is part of the key.
    return {"pk": {"S": f"{RETRY_PREFIX}{lane.per_minute}#{lane.name}"}}


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}
