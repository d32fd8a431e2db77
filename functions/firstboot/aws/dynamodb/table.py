"""The table that the adapters of this package share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from firstboot.aws.clients import answered

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


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

    def _transact(
        self,
        items: list[dict[str, Any]],
        checks: Sequence[dict[str, Any]] = (),
        deletions: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Make updates and deletions together, if the conditions in `checks` hold too (TransactWriteItems).

        A ClientError means that it was cancelled. Its reasons are in the order of `checks`, `deletions`,
        `items`.
        """
        made: Any = [{"ConditionCheck": {"TableName": self._table} | check} for check in checks]
        made += [{"Delete": {"TableName": self._table} | each} for each in deletions]
        made += [{"Update": {"TableName": self._table} | item} for item in items]
        with answered("TransactionCanceledException"):
            self._client.transact_write_items(TransactItems=made)
