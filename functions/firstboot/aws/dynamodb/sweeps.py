"""The row that records how far the last sweep got."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb import rows
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.aws.dynamodb.values import decoded
from firstboot.domain.names import SWEEP_KEY
from firstboot.domain.sweep import Origins, Sweep

_MEMBERS = frozenset(
    {
        *("fleetHash", "startedAt", "policy", "after", "scanned", "touched", "finishedAt", "heldUntil"),
        *("counts", "ways", "origins", "originWays", "originsAt"),
    }
)


class DynamoSweeps(DynamoTable):
    """The sweep's row in the table."""

    def read(self) -> Sweep | None:
        """Return the last sweep, or None before the first (GetItem, consistent). Raises Unavailable."""
        row = self._get(_key(SWEEP_KEY))
        return _sweep(row) if row else None

    def write(self, sweep: Sweep, known: Sweep | None) -> bool:
        """Write `sweep` if the row is as `known`; otherwise write nothing and return False (PutItem).

        The row is as known if its `heldUntil` is, or if there is none and `known` is None. When the reply is
        lost, the repeat returns False although the row was written. Then no run works until `held_until`,
        after which the next run continues. Raises Unavailable.
        """
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if known:
            condition = {
                "ConditionExpression": "heldUntil = :known",
                "ExpressionAttributeValues": rows.values({":known": known.held_until or 0}),
            }
        try:
            with answered("ConditionalCheckFailedException"):
                self._client.put_item(TableName=self._table, Item=_row(sweep), **condition)
        except ClientError:
            return False
        return True


def _key(key: str) -> rows.Row:
    return {"pk": {"S": key}}


def _row(sweep: Sweep) -> rows.Row:
    plain = {
        "pk": SWEEP_KEY,
        "fleetHash": sweep.fleet_hash,
        "startedAt": sweep.started_at,
        "policy": sweep.policy,
        "after": sweep.after,
        "scanned": sweep.scanned,
        "touched": sweep.touched,
        "finishedAt": sweep.finished_at,
        "heldUntil": sweep.held_until or 0,
        "counts": sweep.counts or None,
        "ways": sweep.ways,
        "originWays": sweep.origins.ways if sweep.origins else None,
        "origins": sweep.origins.devices if sweep.origins else None,
        "originsAt": sweep.origins.at if sweep.origins else None,
    }
    return rows.values({name: value for name, value in plain.items() if value is not None})


def _sweep(row: rows.Row) -> Sweep:
    plain = decoded(row, _MEMBERS)
    return Sweep(
        fleet_hash=plain["fleetHash"],
        started_at=rows.moment(plain["startedAt"]),
        policy=plain.get("policy"),
        after=plain.get("after"),
        scanned=plain["scanned"],
        touched=plain["touched"],
        finished_at=rows.moment(plain["finishedAt"]) if "finishedAt" in plain else None,
        held_until=rows.moment(plain["heldUntil"]) if plain["heldUntil"] else None,
        counts=plain.get("counts", {}),
        # A row of an older version has no `ways`. Its sweep, if it is under way, has not counted all of them.
        ways=plain.get("ways"),
        origins=_origins(plain) if "origins" in plain else None,
    )


def _origins(plain: dict[str, Any]) -> Origins:
    return Origins(rows.moment(plain["originsAt"]), plain["origins"], plain.get("originWays"))
