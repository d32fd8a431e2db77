"""The table that the adapters of this package share."""

from __future__ import annotations

import random
from collections.abc import Sequence
from time import sleep
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered, error_code
from firstboot.domain.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_ATTEMPTS = 5
"""How often a write is tried that conflicts with another one."""

_FIRST_PAUSE_SECONDS = 0.01
"""The longest pause after the first conflict. It doubles with each further one, so that all together take at
most 150 ms. A claim holds its rows for a few milliseconds."""


class DynamoTable:
    """A table with the one key `pk`. The key's prefix says what a row holds."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def _get(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """Return a row, or None (GetItem). The read is consistent, so every earlier write counts."""
        with answered():
            answer = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return answer.get("Item")

    def _updated(self, **update: Any) -> dict[str, Any]:  # noqa: ANN401 - the parameters of UpdateItem
        """Update a row, and return the values that `ReturnValues` asks for (UpdateItem)."""
        answer = self._client.update_item(TableName=self._table, **update)
        # For other updates an answer without values is right, so `answers.py` can't refuse it.
        if "Attributes" not in answer:
            raise Unavailable(log="UpdateItem: the answer has no Attributes")
        return answer["Attributes"]

    def _transact(
        self,
        items: list[dict[str, Any]],
        checks: Sequence[dict[str, Any]] = (),
        deletions: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Make updates and deletions together, if the conditions in `checks` hold too (TransactWriteItems).

        A conflict with another write to one of the rows is tried again. A ClientError means that the
        transaction was cancelled. Its reasons are in the order of `checks`, `deletions`, `items`.
        """
        made: Any = [{"ConditionCheck": {"TableName": self._table} | check} for check in checks]
        made += [{"Delete": {"TableName": self._table} | each} for each in deletions]
        made += [{"Update": {"TableName": self._table} | item} for item in items]
        for attempt in range(_ATTEMPTS):
            try:
                with answered("TransactionCanceledException"):
                    self._client.transact_write_items(TransactItems=made)
            except ClientError as error:
                if attempt == _ATTEMPTS - 1 or not _is_conflict(error):
                    raise
                _pause(attempt)
            else:
                return

    def _update_busy(self, update: dict[str, Any]) -> bool:
        """Update a row that claims may be counting on; return whether the update's condition held.

        A claim's transaction lasts milliseconds, so a conflict with one is tried again. Raises Unavailable.
        """
        for attempt in range(_ATTEMPTS):
            try:
                with answered("ConditionalCheckFailedException", "TransactionConflictException"):
                    self._client.update_item(TableName=self._table, **update)
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                _pause(attempt)
            else:
                return True
        raise Unavailable(log=f"{update['Key']['pk']['S']} kept conflicting with claims")


def _is_conflict(error: ClientError) -> bool:
    """Return whether conflicts alone cancelled a transaction (DynamoDB developer guide, "Transaction conflict
    handling in DynamoDB"). botocore repeats a TransactionInProgressException, and no cancelled transaction.
    """
    reasons: Any = error.response.get("CancellationReasons", [])
    return {reason.get("Code") for reason in reasons} - {"None"} == {"TransactionConflict"}


def _pause(attempt: int) -> None:
    """Wait after a conflict, with full jitter, so that those that conflicted do not meet again."""
    sleep(random.uniform(0, _FIRST_PAUSE_SECONDS * 2**attempt))  # noqa: S311 - it keeps nothing secret
