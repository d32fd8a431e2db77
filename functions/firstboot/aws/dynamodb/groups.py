"""Groups in the table: expected devices, budgets, freezing and thawing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

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
        self, group: str, devices: dict[DeviceId, dict[str, Attribute]], now: datetime
    ) -> dict[DeviceId, str]:
        """Write the records of expected devices, 100 at most; return the group of each that had a record.

        A TransactWriteItems. The records that exist cancel it and are returned with the reasons, so a second
        one writes the others. Existing records stay as they are, so the same list may be sent again, also
        after a crash or a lost reply. Raises Unavailable.
        """
        known: dict[DeviceId, str] = {}
        # Each further attempt is for records that another call has written since the one before.
        for _ in range(_ATTEMPTS):
            wanted = [each for each in devices if each not in known]
            try:
                if wanted:
                    self._transact([_expected(group, each, devices[each], now) for each in wanted])
            except ClientError as error:
                known |= _known(error, wanted)
            else:
                return known
        raise Unavailable(log="expect: other calls kept writing the same records")

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


def _expected(
    group: str, device_id: DeviceId, attributes: dict[str, Attribute], now: datetime
) -> dict[str, Any]:
    members = {
        "deviceId": device_id,
        "group": group,
        "status": Status.EXPECTED.value,
        "attributes": attributes,
        "claims": {},
        "generation": 0,
        "createdAt": now,
        "updatedAt": now,
    }
    # Placeholders, because some names are reserved words of DynamoDB.
    names = {f"#{name}": name for name in members}
    return {
        "Key": rows.device_key(device_id),
        "UpdateExpression": f"SET {', '.join(f'#{name} = :{name}' for name in members)}",
        "ConditionExpression": "attribute_not_exists(pk)",
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": rows.values({f":{name}": value for name, value in members.items()}),
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _known(error: ClientError, wanted: list[DeviceId]) -> dict[DeviceId, str]:
    """Return the group of each device whose record exists, which cancelled the transaction.

    Raises Unavailable if another reason cancelled it.
    """
    reasons: Any = error.response.get("CancellationReasons", [])
    codes = [reason.get("Code") for reason in reasons]
    found = {
        each: str(reason["Item"]["group"]["S"])
        for each, reason in zip(wanted, reasons, strict=False)
        if reason.get("Code") == "ConditionalCheckFailed"
    }
    if not found:
        raise Unavailable(log=f"expect: {set(codes)}") from error
    return found
