"""Groups in the table: expected devices, budgets, freezing and thawing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb import budget, rows
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.claim import Limits, Spent
from firstboot.domain.clock import from_epoch
from firstboot.domain.device import Attribute, Status
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId

_ATTEMPTS = 5


class DynamoGroups(DynamoTable):
    """The device records and counters of a group."""

    def expect(
        self,
        group: str,
        formerly: Sequence[str],
        devices: dict[DeviceId, dict[str, Attribute]],
        now: datetime,
    ) -> list[DeviceId]:
        """Write the records of expected devices, 100 at most, and return those of other groups.

        A known device of the group may be recorded under one of its names `formerly`.

        A TransactWriteItems; a device of another group cancels it, so a second one writes the others. An
        existing record of the group keeps what it has, so the same list may be sent again, also after a crash
        or a lost reply. Raises Unavailable.
        """
        foreign: list[DeviceId] = []
        wanted = list(devices)
        while wanted:
            try:
                self._transact([_expected(group, formerly, each, devices[each], now) for each in wanted])
                break
            except ClientError as error:
                refused = _refused(error, wanted)
            foreign += refused
            wanted = [each for each in wanted if each not in refused]
        return foreign

    def spent(self, group: str, limits: Limits) -> Spent:
        """Return how many devices a group has enrolled, and since when it is frozen (GetItem of every shard).

        Raises Unavailable.
        """
        found = [self._get(key) or {} for key in budget.shard_keys(group, limits)]
        frozen = [from_epoch(int(row["frozenAt"]["N"])) for row in found if "frozenAt" in row]
        used = sum(int(row["used"]["N"]) for row in found if "used" in row)
        # After a crash only some shards are marked, and each may have been marked at another time.
        return Spent(used, min(frozen, default=None))

    def freeze(self, group: str, limits: Limits, now: datetime) -> None:
        """Mark every shard of the group's total as frozen (UpdateItem of each).

        After a crash, the shards that are marked refuse enrollments, and the next enrollment over the
        threshold marks the rest. A repeat keeps the first time. Raises Unavailable.
        """
        since = "SET frozenAt = if_not_exists(frozenAt, :now)"
        self._gate(group, limits, since, {":now": rows.number(now)})

    def thaw(self, group: str, limits: Limits) -> None:
        """Remove the mark from every shard of the group's total (UpdateItem of each). Raises Unavailable."""
        self._gate(group, limits, "REMOVE frozenAt", {})

    def _gate(self, group: str, limits: Limits, expression: str, values: dict[str, Any]) -> None:
        given: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        for key in budget.shard_keys(group, limits):
            self._update_busy({"Key": key, "UpdateExpression": expression} | given)

    def _update_busy(self, update: dict[str, Any]) -> None:
        """Update a row that claims may be counting on.

        A claim's transaction lasts milliseconds, so a conflict with one is tried again. Raises Unavailable.
        """
        for _ in range(_ATTEMPTS):
            try:
                with answered("TransactionConflictException"):
                    self._client.update_item(TableName=self._table, **update)
            except ClientError:
                continue
            return
        raise Unavailable(log="the group's counters kept conflicting with claims")


def _expected(
    group: str, formerly: Sequence[str], device_id: DeviceId, attributes: dict[str, Attribute], now: datetime
) -> dict[str, Any]:
    former = {f":former{number}": name for number, name in enumerate(formerly)}
    values = {
        **former,
        ":id": device_id,
        ":group": group,
        ":expected": Status.EXPECTED.value,
        ":attributes": attributes,
        ":empty": {},
        ":zero": 0,
        ":now": now,
    }
    defaults = {
        "deviceId": ":id",
        "#group": ":group",
        "#status": ":expected",
        "attributes": ":attributes",
        "claims": ":empty",
        "generation": ":zero",
        "createdAt": ":now",
        "updatedAt": ":now",
    }
    # Nothing that exists is overwritten, so repeating the import of a list is always safe.
    sets = ", ".join(f"{name} = if_not_exists({name}, {value})" for name, value in defaults.items())
    return {
        "Key": rows.device_key(device_id),
        "UpdateExpression": f"SET {sets}",
        "ConditionExpression": f"attribute_not_exists(pk) OR #group IN ({', '.join([':group', *former])})",
        "ExpressionAttributeNames": {"#status": "status", "#group": "group"},
        "ExpressionAttributeValues": rows.values(values),
    }


def _refused(error: ClientError, wanted: list[DeviceId]) -> list[DeviceId]:
    """Return the devices whose condition did not hold.

    Raises Unavailable if another reason cancelled the transaction.
    """
    reasons = error.response.get("CancellationReasons", [])
    codes = [reason.get("Code") for reason in reasons]
    refused = [each for each, code in zip(wanted, codes, strict=False) if code == "ConditionalCheckFailed"]
    if not refused:
        raise Unavailable(log=f"expect: {set(codes)}") from error
    return refused
