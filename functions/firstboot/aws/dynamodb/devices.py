"""The device records in DynamoDB: one item for each device, one conditional write for each transition.

`domain/claim.py` explains the conditions of a claim, and a property test compares the two. Unless it says
otherwise, a method raises Unavailable when DynamoDB does not answer or throttles.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from botocore.exceptions import ClientError
from cryptography import x509

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb import budget, claims, rows
from firstboot.aws.dynamodb.groups import DynamoGroups
from firstboot.aws.dynamodb.proofs import DynamoProofs, certificate_row
from firstboot.aws.dynamodb.reconciled import DynamoReconciled
from firstboot.domain.claim import ClaimRefused, Enrollment, RefusedBy, Renewal
from firstboot.domain.device import Attribute, CertificateRecord, Device, Status, login
from firstboot.domain.errors import DeviceNotFound, Unavailable
from firstboot.domain.names import DeviceId

_IMPORT = (
    "SET deviceId = :id, #group = :group, #status = :enrolled, active = :active, registered = :registered,"
    " attributes = :attributes, claims = :empty, generation = :zero, createdAt = :now, updatedAt = :now"
)


class DynamoDevices(DynamoProofs, DynamoGroups, DynamoReconciled):
    """The device records, as `exchange`, `vend`, `register` and `operate` read and write them."""

    def claim(self, asked: Enrollment | Renewal) -> ClaimRefused | None:
        """Record the intent to certify, or return the reason against it (TransactWriteItems).

        The device's row, its key's row and its group's counters change together or not at all, and only if
        the bootstrap certificate is not revoked. When the reply
        is lost, botocore's own retry claims once, because both have one ClientRequestToken. When the device
        repeats the request, its row refuses it and is returned.
        """
        items = [claims.device(asked), claims.key(asked.certificate.spki, asked.device_id)]
        checks, counted = [], []
        if isinstance(asked, Enrollment):
            checks, counted = [claims.not_revoked(asked.enrolled_by)], budget.counters(asked)
        # A full shard says nothing about the limit as a whole, so the next shard is tried.
        refused = None
        for step, counters in enumerate(budget.tries(asked.device_id, counted)):
            refused = self._claim([*items, *counters], checks, counted)
            if refused is None or not _another_shard(refused, counted, step):
                return refused
        return refused

    def _claim(
        self, items: list[dict[str, Any]], checks: list[dict[str, Any]], counted: list[budget.Counter]
    ) -> ClaimRefused | None:
        # The check of the bootstrap certificate stands first: a repeat fails the device's condition too, and
        # would get its certificate. DynamoDB gives the reason of every item.
        conditions = [RefusedBy.BOOTSTRAP] * len(checks) + [RefusedBy.DEVICE, RefusedBy.KEY]
        conditions += [each.refused_by for each in counted]
        try:
            self._transact(items, checks)
        except ClientError as error:
            return _refusal(error, conditions)
        return None

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the device's record, or None (GetItem).

        The read is consistent, so that a revocation takes effect with the next call.
        """
        row = self._get(rows.device_key(device_id))
        return rows.device(row) if row else None

    def commit(self, committed: Device, leaf: x509.Certificate) -> Device:
        """Make the pending certificate the active one and return the record (TransactWriteItems).

        `committed` is the record as it must become, `leaf` the certificate that logs in. The row that finds
        the certificate by its thumbprint is written in the same transaction, so a signed proof can name every
        certificate that has logged in. When the reply is lost, the repeat fails the condition, finds the
        certificate active and changes nothing. Raises DeviceRevoked, CertificateNotCurrent and Unavailable.
        """
        active = cast("CertificateRecord", committed.active)
        plain = {
            ":active": rows.certificate_row(active),
            ":serial": active.serial,
            ":enrolled": Status.ENROLLED.value,
            ":one": 1,
            ":now": committed.updated_at,
        }
        expression = "SET active = :active, updatedAt = :now"
        if committed.superseded:
            expression += ", superseded = :superseded"
            plain[":superseded"] = rows.certificate_row(committed.superseded)
        device = {
            "Key": rows.device_key(committed.device_id),
            "UpdateExpression": f"{expression} ADD generation :one REMOVE pending",
            # A device that was revoked after its record was read must not get an active certificate.
            "ConditionExpression": "#status = :enrolled AND pending.serial = :serial",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": rows.values(plain),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            self._transact([device, certificate_row(leaf)])
        except ClientError as error:
            refused = _refusal(error, [RefusedBy.DEVICE])
            return login(refused.device, active.serial).device
        return committed

    def import_device(self, device: Device, active: CertificateRecord) -> RefusedBy | None:
        """Write the first record of a device, and the row of its certificate's key (TransactWriteItems).

        Return None if both were written, otherwise what prevented it. A repeat after a lost reply returns
        RefusedBy.DEVICE.
        """
        record = {
            "Key": rows.device_key(device.device_id),
            "UpdateExpression": _IMPORT,
            "ConditionExpression": "attribute_not_exists(pk)",
            "ExpressionAttributeNames": {"#group": "group", "#status": "status"},
            "ExpressionAttributeValues": rows.values(
                {
                    ":id": device.device_id,
                    ":group": device.group,
                    ":enrolled": Status.ENROLLED.value,
                    ":active": rows.certificate_row(active),
                    ":registered": {active.certificate_id},
                    ":attributes": device.attributes,
                    ":empty": {},
                    ":zero": 0,
                    ":now": device.created_at,
                }
            ),
        }
        try:
            self._transact([record, claims.key(active.spki, device.device_id)])
        except ClientError as error:
            return _refusal(error, [RefusedBy.DEVICE, RefusedBy.KEY]).by
        return None

    def revoke_bootstrap(self, identifier: str, now: datetime) -> None:
        """Write the row that refuses a bootstrap certificate for good (UpdateItem).

        A repeat keeps the first time. Raises Unavailable.
        """
        with answered():
            self._client.update_item(
                TableName=self._table,
                Key=claims.bootstrap_key(identifier),
                UpdateExpression="SET revokedAt = if_not_exists(revokedAt, :now)",
                ExpressionAttributeValues={":now": rows.number(now)},
            )

    def is_bootstrap_revoked(self, identifier: str) -> bool:
        """Return whether a bootstrap certificate is revoked (GetItem, consistent). Raises Unavailable."""
        return self._get(claims.bootstrap_key(identifier)) is not None

    def revoke(self, device_id: DeviceId, now: datetime) -> Device:
        """Revoke a device for good and return its record (UpdateItem).

        A repeat changes only `updatedAt`. Raises DeviceNotFound and Unavailable.
        """
        return self._set_status(device_id, Status.REVOKED, now)

    def delete(self, device_id: DeviceId, now: datetime) -> Device:
        """Mark a device as deleted and return its record (UpdateItem).

        `register` removes the record last, because the record says what is left to remove from AWS IoT. A
        repeat changes only `updatedAt`. Raises DeviceNotFound and Unavailable.
        """
        return self._set_status(device_id, Status.DELETED, now)

    def _set_status(self, device_id: DeviceId, status: Status, now: datetime) -> Device:
        plain = {":status": status.value, ":now": now}
        return self._change(
            device_id, "SET #status = :status, updatedAt = :now", plain, {"#status": "status"}
        )

    def set_attributes(
        self, device_id: DeviceId, changes: dict[str, Attribute | None], now: datetime
    ) -> Device:
        """Set the given attributes, remove those that are None, and return the record (UpdateItem).

        Other attributes stay. A repeat changes only `updatedAt`. Raises DeviceNotFound and Unavailable.
        """
        # The names come from an operator. Placeholders keep them out of the expression, where they could be
        # reserved words.
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
        """Return the record after one UpdateItem. A ClientError means that its condition did not hold."""
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

    def page(
        self, limit: int, after: str | None, enrolled_by: str | None = None, anchor: str | None = None
    ) -> tuple[list[Device], str | None]:
        """Return the devices among `limit` rows at most, and where the next page starts (Scan).

        The rows are those after the key `after`; the next page's key is None after the last page. With
        `enrolled_by` (a bootstrap certificate's identifier or an id of AWS IoT's for it) or `anchor` (SHA-256
        of the key), all in hex, only the devices that it enrolled are returned.
        """
        # An index by group would have one hot partition when a whole group boots at once, and DynamoDB would
        # throttle the table with it. An operator can wait for a scan.
        start = {"ExclusiveStartKey": {"pk": {"S": after}}} if after else {}
        # The table has other rows too, so a page may have fewer devices than its limit, or none.
        only, values = "begins_with(pk, :device)", {":device": {"S": "DEV#"}}
        if enrolled_by:
            # Older versions wrote AWS IoT's id of the certificate as `enrolledBy`, and no `bootstrapIds`.
            only += " AND (enrolledBy = :by OR contains(bootstrapIds, :by))"
            values[":by"] = {"S": enrolled_by}
        if anchor:
            only, values[":anchor"] = f"{only} AND anchor = :anchor", {"S": anchor}
        with answered():
            answer = self._client.scan(
                TableName=self._table,
                Limit=limit,
                FilterExpression=only,
                ExpressionAttributeValues=values,
                **start,  # type: ignore[arg-type]
            )
        last = answer.get("LastEvaluatedKey")
        return [rows.device(row) for row in answer["Items"]], last["pk"]["S"] if last else None


def _another_shard(refused: ClaimRefused, counted: list[budget.Counter], step: int) -> bool:
    """Return whether the counter that refused the claim has shards that were not tried yet."""
    return any(each.refused_by is refused.by and step + 1 < each.shards for each in counted)


def _refusal(error: ClientError, conditions: list[RefusedBy]) -> ClaimRefused:
    """Return which condition of the transaction did not hold; the first one in order counts.

    Raises Unavailable if the transaction was cancelled for another reason.
    """
    reasons = error.response.get("CancellationReasons", [])
    for condition, reason in zip(conditions, reasons, strict=False):
        if reason.get("Code") == "ConditionalCheckFailed":
            # A frozen counter and a full one fail the same condition.
            if "frozenAt" in (reason.get("Item") or {}):
                return ClaimRefused(RefusedBy.FROZEN)
            return ClaimRefused(condition, _old(reason) if condition is RefusedBy.DEVICE else None)
    # TransactionConflict, ThrottlingError and similar codes decide nothing about the claim.
    raise Unavailable(log=f"claim: {[reason.get('Code') for reason in reasons]}") from error


def _old(answer: Any) -> Device | None:  # noqa: ANN401 - botocore types no failed condition's item
    row = answer.get("Item")
    return rows.device(row) if row else None
