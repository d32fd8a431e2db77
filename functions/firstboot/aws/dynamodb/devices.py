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
from firstboot.aws.dynamodb import claims, rows
from firstboot.aws.dynamodb.claiming import DynamoClaims, refusal
from firstboot.aws.dynamodb.groups import DynamoGroups
from firstboot.aws.dynamodb.pins import DynamoPins
from firstboot.aws.dynamodb.proofs import DynamoProofs, certificate_row
from firstboot.aws.dynamodb.reconciled import DynamoReconciled
from firstboot.domain.claim import RefusedBy
from firstboot.domain.device import Attribute, CertificateRecord, Device, Status, login
from firstboot.domain.enrollments import OFTEN
from firstboot.domain.errors import DeviceNotFound
from firstboot.domain.names import DEVICE_PREFIX, DeviceId

_IMPORT = (
    "SET deviceId = :id, #group = :group, #status = :enrolled, active = :active, registered = :registered,"
    " attributes = :attributes, claims = :empty, generation = :zero, createdAt = :now, updatedAt = :now,"
    " imported = :imported"
)


class DynamoDevices(DynamoClaims, DynamoPins, DynamoProofs, DynamoGroups, DynamoReconciled):
    """The device records, as `exchange`, `vend`, `register` and `operate` read and write them."""

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
        certificate that has logged in. So is the row that makes the key the device's for good. When the reply
        is lost, the repeat fails the condition, finds the certificate active and changes nothing. Raises
        DeviceRevoked, CertificateNotCurrent and Unavailable.
        """
        active = cast("CertificateRecord", committed.active)
        plain = {
            ":active": rows.certificate_row(active),
            ":serial": active.serial,
            ":enrolled": Status.ENROLLED.value,
            ":claims": committed.claims,
            ":one": 1,
            ":now": committed.updated_at,
        }
        expression = "SET active = :active, claims = :claims, updatedAt = :now"
        if committed.enrolled:
            expression += ", enrolled = :all"
            plain[":all"] = rows.enrolled_row(committed.enrolled)
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
            self._transact(
                [device, certificate_row(leaf), claims.key_owner(active.spki, committed.device_id)]
            )
        except ClientError as error:
            refused = refusal(error, [RefusedBy.DEVICE])
            return login(refused.device, active.serial).device
        return committed

    def import_device(self, device: Device, active: CertificateRecord) -> RefusedBy | None:
        """Write the first record of a device, and the row of its certificate's key (TransactWriteItems).

        The key is the device's for good at once, because the certificate is in use. Return None if both were
        written, otherwise what prevented it. A repeat after a lost reply returns RefusedBy.DEVICE.
        """
        spki, name = active.spki, device.device_id
        record = {
            "Key": rows.device_key(name),
            "UpdateExpression": _IMPORT,
            "ConditionExpression": "attribute_not_exists(pk)",
            "ExpressionAttributeNames": {"#group": "group", "#status": "status"},
            "ExpressionAttributeValues": rows.values(
                {
                    ":id": name,
                    ":group": device.group,
                    ":enrolled": Status.ENROLLED.value,
                    ":active": rows.certificate_row(active),
                    ":registered": {active.certificate_id},
                    ":attributes": device.attributes,
                    ":empty": {},
                    ":zero": 0,
                    ":now": device.created_at,
                    ":imported": True,
                }
            ),
        }
        try:
            self._transact(
                [record, claims.key_owner(spki, name) | claims.key_unowned(spki, name)],
                [claims.key_unclaimed(spki, name, device.created_at)],
            )
        except ClientError as error:
            return refusal(error, [RefusedBy.KEY, RefusedBy.DEVICE, RefusedBy.KEY]).by
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
            row = self._updated(
                Key=rows.device_key(device_id),
                UpdateExpression=expression,
                ConditionExpression=condition,
                ExpressionAttributeValues=rows.values(plain),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **({"ExpressionAttributeNames": names} if names else {}),
            )
        return rows.device(row)

    def after(self, device: Device) -> str:
        """Return the token of the page that begins after a device."""
        return str(rows.device_key(device.device_id)["pk"]["S"])

    def page(
        self,
        limit: int,
        after: str | None,
        enrolled_by: str | None = None,
        anchor: str | None = None,
        *,
        suspect: bool = False,
    ) -> tuple[list[Device], str | None]:
        """Return the devices among `limit` rows at most, and where the next page starts (Scan).

        The rows are those after the key `after`; the next page's key is None after the last page. With
        `enrolled_by` (a bootstrap certificate's identifier or an id of AWS IoT's for it) or `anchor` (SHA-256
        of the key), all in hex, only the devices that it enrolled are returned. With `suspect`, only those
        with enough enrollments to be suspect.
        """
        # An index by group would have one hot partition when a whole group boots at once, and DynamoDB would
        # throttle the table with it. An operator can wait for a scan.
        start = {"ExclusiveStartKey": {"pk": {"S": after}}} if after else {}
        # The table has other rows too, so a page may have fewer devices than its limit, or none.
        only, values = "begins_with(pk, :device)", {":device": {"S": DEVICE_PREFIX}}
        if enrolled_by:
            # Older versions wrote AWS IoT's id of the certificate as `enrolledBy`, and no `bootstrapIds`.
            only += " AND (enrolledBy = :by OR contains(bootstrapIds, :by))"
            values[":by"] = {"S": enrolled_by}
        if anchor:
            only, values[":anchor"] = f"{only} AND anchor = :anchor", {"S": anchor}
        if suspect:
            only, values[":few"] = f"{only} AND size(enrolled) >= :few", {"N": str(OFTEN)}
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
