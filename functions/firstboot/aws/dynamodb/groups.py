"""Groups in the table: expected devices, budgets, freezing and thawing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb import budget, rows
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.claim import Spent
from firstboot.domain.clock import from_epoch
from firstboot.domain.device import Attribute, Limits, Status
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId

_ATTEMPTS = 5


class DynamoGroups(DynamoTable):
    """The device records and counters of a group."""

    def expect(
        self, group: str, devices: dict[DeviceId, dict[str, Attribute]], now: datetime
    ) -> list[DeviceId]:
        """TransactWriteItems of up to 100 devices; a second one without those of other groups."""
        foreign: list[DeviceId] = []
        wanted = list(devices)
        while wanted:
            try:
                self._transact([_expected(group, each, devices[each], now) for each in wanted])
                break
            except ClientError as error:
                refused = _refused(error, wanted)
            foreign += refused
            wanted = [each for each in wanted if each not in refused]
        return foreign

    def spent(self, group: str, limits: Limits) -> Spent:
        """GetItem of every shard."""
        found = [self._get(key) or {} for key in budget.shard_keys(group, limits)]
        frozen = [from_epoch(int(row["frozenAt"]["N"])) for row in found if "frozenAt" in row]
        used = sum(int(row["used"]["N"]) for row in found if "used" in row)
        return Spent(used, min(frozen, default=None))

    def freeze(self, group: str, limits: Limits, now: datetime) -> None:
        """UpdateItem of every shard of the group's total. Half done, what is done holds, and the
        next one who finds the threshold crossed does the rest.
        """
        since = "SET frozenAt = if_not_exists(frozenAt, :now)"
        self._gate(group, limits, since, {":now": rows.number(now)})

    def thaw(self, group: str, limits: Limits) -> None:
        """UpdateItem of every shard of the group's total."""
        self._gate(group, limits, "REMOVE frozenAt", {})

    def _gate(self, group: str, limits: Limits, expression: str, values: dict[str, Any]) -> None:
        given: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
        for key in budget.shard_keys(group, limits):
            self._update_busy({"Key": key, "UpdateExpression": expression} | given)

    def _update_busy(self, update: dict[str, Any]) -> None:
        """An update of a row that claims are counting on: they last milliseconds, so try again."""
        for _ in range(_ATTEMPTS):
            try:
                with answered("TransactionConflictException"):
                    self._client.update_item(TableName=self._table, **update)
            except ClientError:
                continue
            return
        raise Unavailable(log="the group's counters are busy")


def _expected(
    group: str, device_id: DeviceId, attributes: dict[str, Attribute], now: datetime
) -> dict[str, Any]:
    values = {
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
    sets = ", ".join(f"{name} = if_not_exists({name}, {value})" for name, value in defaults.items())
    return {
        "Key": rows.device_key(device_id),
        "UpdateExpression": f"SET {sets}",
        "ConditionExpression": "attribute_not_exists(pk) OR #group = :group",
        "ExpressionAttributeNames": {"#status": "status", "#group": "group"},
        "ExpressionAttributeValues": rows.values(values),
    }


def _refused(error: ClientError, wanted: list[DeviceId]) -> list[DeviceId]:
    """Whose condition did not hold.

    Raises Unavailable where that was not what stopped the transaction.
    """
    reasons = error.response.get("CancellationReasons", [])
    codes = [reason.get("Code") for reason in reasons]
    refused = [each for each, code in zip(wanted, codes, strict=False) if code == "ConditionalCheckFailed"]
    if not refused:
        raise Unavailable(log=f"expect: {set(codes)}") from error
    return refused
