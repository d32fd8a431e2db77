"""The rows of bootstrap certificates that wait for activation, one for each certificate."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb import rows
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.aws.dynamodb.values import decoded
from firstboot.domain.jitr import Attempts
from firstboot.domain.names import JITR_PREFIX

_MEMBERS = frozenset({"message", "attempts", "nextAt", "decidedAt"})


class DynamoAttempts(DynamoTable):
    """The rows of certificates at JITR. DynamoDB deletes a row a day after `nextAt` or later."""

    def find(self, certificate_id: str) -> Attempts | None:
        """Return what is known of a certificate (GetItem, consistent). Raises Unavailable."""
        row = self._get(_key(certificate_id))
        return _attempts(row) if row else None

    def write(self, certificate_id: str, attempts: Attempts, known: Attempts | None) -> bool:
        """Write `attempts` if the row is as `known`; return whether its message is in the row (UpdateItem).

        Of two messages that find the same row, one is written. A repeat after a lost reply returns True.
        Raises Unavailable.
        """
        written = {
            ":message": attempts.message,
            ":attempts": attempts.count,
            ":next": attempts.next_at,
            ":expires": attempts.forgotten_at,
        }
        condition = "attribute_not_exists(nextAt)"
        if known:
            condition = "nextAt = :known"
            written[":known"] = known.next_at
        update = "SET message = :message, attempts = :attempts, nextAt = :next, expiresAt = :expires"
        failed = self._update(certificate_id, update, condition, written)
        return failed is None or failed.get("message") == {"S": attempts.message}

    def decided(self, certificate_id: str, at: datetime) -> None:
        """Note when a decision began, if the certificate has a row (UpdateItem). Raises Unavailable."""
        self._update(certificate_id, "SET decidedAt = :at", "attribute_exists(nextAt)", {":at": at})

    def _update(
        self, certificate_id: str, update: str, condition: str, written: dict[str, Any]
    ) -> rows.Row | None:
        """Update a row, and return None; return the row as it is if it fails the condition."""
        try:
            with answered("ConditionalCheckFailedException"):
                self._client.update_item(
                    TableName=self._table,
                    Key=_key(certificate_id),
                    UpdateExpression=update,
                    ConditionExpression=condition,
                    ExpressionAttributeValues=rows.values(written),
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except ClientError as error:
            row: Any = error.response.get("Item") or {}
            return dict(row)
        return None


def _key(certificate_id: str) -> rows.Row:
    return {"pk": {"S": f"{JITR_PREFIX}{certificate_id}"}}


def _attempts(row: rows.Row) -> Attempts:
    plain = decoded(row, _MEMBERS)
    return Attempts(
        message=plain["message"],
        count=plain["attempts"],
        next_at=rows.moment(plain["nextAt"]),
        decided_at=rows.moment(plain["decidedAt"]) if "decidedAt" in plain else None,
    )
