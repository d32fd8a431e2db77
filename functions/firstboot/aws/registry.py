"""The device registry in DynamoDB: one item a device, every transition one conditional write.

What the conditions mean is said in `lifecycle.py`; a test holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from firstboot.aws import budget, rows
from firstboot.aws.clients import answered
from firstboot.errors import DeviceNotFound, Unavailable
from firstboot.lifecycle import Attribute, CertificateRecord, Device, Enrollment, Status, login
from firstboot.names import DeviceId
from firstboot.ports import ClaimRefused, Limits, RefusedBy

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# lifecycle.enrolls_anew as a condition: no row; or an enrolled one of this group that this key
# does not answer already, whose pending certificate is no longer held, and whose active one may
# be replaced.
_MAY_CLAIM = (
    "attribute_not_exists(pk) OR (#status = :enrolled AND #group = :group"
    " AND (attribute_not_exists(pending) OR (pending.heldUntil <= :now"
    " AND (pending.spki <> :spki OR pending.renewAfter <= :now)))"
    " AND (attribute_not_exists(active) OR (:replaces = :true"
    " AND (active.spki <> :spki OR active.renewAfter <= :now))))"
)
_CLAIM = (
    "SET deviceId = :id, #group = :group, #status = :enrolled, pending = :pending, claims = :claims,"
    " enrolledBy = :by, updatedAt = :now, createdAt = if_not_exists(createdAt, :now),"
    " generation = if_not_exists(generation, :zero), attributes = if_not_exists(attributes, :empty)"
)


class DynamoRegistry:
    """The Registry port, and what the operator's calls need."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def claim(self, enrollment: Enrollment, limits: Limits | None) -> ClaimRefused | None:
        """TransactWriteItems: the device's row, its key, its group's budget; all or nothing.

        botocore sends a ClientRequestToken, so its own retry after a lost reply claims once. A
        repeat from the device finds its row and is refused by it.
        """
        refused = None
        for counters in budget.counters(self._table, enrollment, limits):
            refused = self._transact(enrollment, counters)
            if refused is None or refused.by is not RefusedBy.TOTAL:
                return refused
        return refused

    def _transact(self, enrollment: Enrollment, counters: list[dict[str, Any]]) -> ClaimRefused | None:
        items = [self._claim_device(enrollment), self._claim_key(enrollment), *counters]
        try:
            with answered("TransactionCanceledException"):
                self._client.transact_write_items(TransactItems=items)  # type: ignore[arg-type]
        except ClientError as error:
            return _refusal(error)
        return None

    def _claim_device(self, enrollment: Enrollment) -> dict[str, Any]:
        plain = {
            ":id": enrollment.device_id,
            ":group": enrollment.group,
            ":enrolled": Status.ENROLLED.value,
            ":pending": rows.certificate_row(enrollment.certificate),
            ":spki": enrollment.certificate.spki,
            ":claims": enrollment.claims,
            ":by": enrollment.enrolled_by,
            ":replaces": enrollment.replaces,
            ":true": True,
            ":now": enrollment.now,
            ":zero": 0,
            ":empty": {},
        }
        return {
            "Update": {
                "TableName": self._table,
                "Key": rows.device_key(enrollment.device_id),
                "UpdateExpression": _CLAIM,
                "ConditionExpression": _MAY_CLAIM,
                "ExpressionAttributeNames": {"#status": "status", "#group": "group"},
                "ExpressionAttributeValues": rows.values(plain),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def _claim_key(self, enrollment: Enrollment) -> dict[str, Any]:
        return {
            "Update": {
                "TableName": self._table,
                "Key": {"pk": {"S": f"KEY#{enrollment.certificate.spki}"}},
                "UpdateExpression": "SET deviceId = :id",
                "ConditionExpression": "attribute_not_exists(pk) OR deviceId = :id",
                "ExpressionAttributeValues": {":id": {"S": enrollment.device_id}},
            }
        }

    def device(self, device_id: DeviceId) -> Device | None:
        """GetItem, consistent: a revocation counts from the next call on."""
        with answered():
            answer = self._client.get_item(
                TableName=self._table, Key=rows.device_key(device_id), ConsistentRead=True
            )
        return rows.device(answer["Item"]) if "Item" in answer else None

    def commit(self, device_id: DeviceId, certificate: CertificateRecord, now: int) -> Device:
        """UpdateItem: pending becomes active. Repeated, it finds itself done and changes nothing."""
        plain = {
            ":certificate": rows.certificate_row(certificate),
            ":serial": certificate.serial,
            ":enrolled": Status.ENROLLED.value,
            ":one": 1,
            ":now": now,
        }
        try:
            return self._update(
                device_id,
                "SET active = :certificate, updatedAt = :now ADD generation :one REMOVE pending",
                "#status = :enrolled AND pending.serial = :serial",
                plain,
                {"#status": "status"},
            )
        except ClientError as error:
            return login(_old(error.response), certificate.serial).device

    def revoke(self, device_id: DeviceId, now: int) -> Device:
        """UpdateItem: the device is revoked for good; repeating it changes only `updatedAt`.

        Raises DeviceNotFound.
        """
        plain = {":revoked": Status.REVOKED.value, ":now": now}
        return self._change(
            device_id, "SET #status = :revoked, updatedAt = :now", plain, {"#status": "status"}
        )

    def set_attributes(self, device_id: DeviceId, changes: dict[str, Attribute | None], now: int) -> Device:
        """UpdateItem: set the given attributes, remove those that are None, leave the others.

        Raises DeviceNotFound.
        """
        names = {f"#a{index}": name for index, name in enumerate(changes)}
        sets = [f"attributes.{alias} = :{alias[1:]}" for alias in names if changes[names[alias]] is not None]
        removes = [f"attributes.{alias}" for alias in names if changes[names[alias]] is None]
        plain = {f":{alias[1:]}": changes[name] for alias, name in names.items() if changes[name] is not None}
        expression = f"SET {', '.join([*sets, 'updatedAt = :now'])}"
        if removes:
            expression += f" REMOVE {', '.join(removes)}"
        return self._change(device_id, expression, plain | {":now": now}, names)

    def _change(
        self, device_id: DeviceId, expression: str, plain: dict[str, Any], names: dict[str, str]
    ) -> Device:
        try:
            return self._update(device_id, expression, "attribute_exists(pk)", plain, names)
        except ClientError as error:
            raise DeviceNotFound(log=device_id) from error

    def _update(
        self,
        device_id: DeviceId,
        expression: str,
        condition: str,
        plain: dict[str, Any],
        names: dict[str, str],
    ) -> Device:
        """One UpdateItem; a ClientError means that its condition did not hold."""
        with answered("ConditionalCheckFailedException"):
            answer = self._client.update_item(
                TableName=self._table,
                Key=rows.device_key(device_id),
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeValues=rows.values(plain),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **({"ExpressionAttributeNames": names} if names else {}),  # type: ignore[arg-type]
            )
        return rows.device(answer["Attributes"])

    def page(self, limit: int, after: str | None) -> tuple[list[Device], str | None]:
        """Scan: the devices among up to `limit` rows behind `after`, and where to go on, if anywhere.

        A scan, since an index by group would be one hot partition when a fleet boots at once.
        """
        start = {"ExclusiveStartKey": {"pk": {"S": after}}} if after else {}
        with answered():
            answer = self._client.scan(
                TableName=self._table,
                Limit=limit,
                FilterExpression="begins_with(pk, :device)",
                ExpressionAttributeValues={":device": {"S": "DEV#"}},
                **start,  # type: ignore[arg-type]
            )
        last = answer.get("LastEvaluatedKey")
        return [rows.device(row) for row in answer["Items"]], last["pk"]["S"] if last else None


_CONDITIONS = (RefusedBy.DEVICE, RefusedBy.KEY, RefusedBy.TOTAL, RefusedBy.RATE)


def _refusal(error: ClientError) -> ClaimRefused:
    """Which item of the transaction stood against it, in the order in which they matter."""
    reasons = error.response.get("CancellationReasons", [])
    for condition, reason in zip(_CONDITIONS, reasons, strict=False):
        if reason.get("Code") == "ConditionalCheckFailed":
            return ClaimRefused(condition, _old(reason))
    # TransactionConflict, ThrottlingError and the like: nothing was decided.
    raise Unavailable(log=f"claim: {[reason.get('Code') for reason in reasons]}") from error


def _old(answer: Any) -> Device | None:  # noqa: ANN401 - botocore types no failed condition's item
    row = answer.get("Item")
    return rows.device(row) if row else None
