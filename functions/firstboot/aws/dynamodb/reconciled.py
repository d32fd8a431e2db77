"""Notes of `register` in a device record about what it did in AWS IoT."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb import rows
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.device import CertificateRecord, Device, Status
from firstboot.domain.errors import Unavailable

# Both are reserved words of DynamoDB.
_NAMES = {"#status": "status", "#group": "group"}


class DynamoReconciled(DynamoTable):
    """The reconciled states in device records, and the removal of deleted devices' records."""

    def intend(self, read: Device, activating: frozenset[str]) -> bool:
        """Write that these certificates are about to become ACTIVE; return whether the record was as `read`.

        An UpdateItem. Nothing is written otherwise. When the reply is lost, the repeat may return False.
        Raises Unavailable.
        """
        return self._write(read, {"activating": activating})

    def note(self, read: Device, registered: frozenset[str], attached: frozenset[str], group: str) -> bool:
        """Write the reconciled state if the record is still as it was `read`; return whether it was.

        An UpdateItem. `registered` are ids of certificates, `attached` is of `note_of`, `group` is the
        group's current name. No certificate is about to become ACTIVE any more. When the reply is lost, the
        repeat may return False, and the device is reconciled once more. Raises Unavailable.
        """
        # The note is written even if it changes nothing: a condition that fails tells a process that worked
        # from an older record to start again.
        sets = {"registered": registered, "attached": attached, "activating": frozenset[str]()}
        return self._write(read, sets, group)

    def _write(self, read: Device, sets: dict[str, frozenset[str]], group: str | None = None) -> bool:
        plain: dict[str, Any] = {
            ":status": read.status.value,
            ":group": read.group,
            ":generation": read.generation,
            ":attributes": read.attributes,
        }
        # Claims change only with the generation or the pending certificate.
        conditions = ["#status = :status", "#group = :group", "generation = :generation"]
        conditions.append("attributes = :attributes")
        for name, record in {"pending": read.pending, "active": read.active}.items():
            conditions.append(_same_serial(name, record, plain))
        for name, members in {"registered": read.registered, "activating": read.activating}.items():
            conditions.append(_same_set(name, members, plain))
        expression = _written(sets, plain, group if group != read.group else None)
        try:
            with answered("ConditionalCheckFailedException"):
                self._client.update_item(
                    TableName=self._table,
                    Key=rows.device_key(read.device_id),
                    UpdateExpression=expression,
                    ConditionExpression=" AND ".join(conditions),
                    ExpressionAttributeNames=_NAMES,
                    ExpressionAttributeValues=rows.values(plain),
                )
        except ClientError:
            return False
        return True

    def forget(self, read: Device) -> bool:
        """Remove the record of a deleted device; return whether it was as `read`, or is gone.

        A TransactWriteItems, which also notes when the device was deleted: `console registry restore` must
        not put a record of the deleted device back. The conditions protect a device that enrolled again under
        the same name. Raises Unavailable.
        """
        plain = {":deleted": Status.DELETED.value, ":created": read.created_at, ":updated": read.updated_at}
        same = "#status = :deleted AND createdAt = :created AND updatedAt = :updated"
        record = {
            "Key": rows.device_key(read.device_id),
            "ConditionExpression": f"attribute_not_exists(pk) OR ({same})",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": rows.values(plain),
        }
        # The note has no end: backups have none either. A later deletion of the name overwrites it.
        note = {
            "Key": rows.gone_key(read.device_id),
            "UpdateExpression": "SET goneAt = :updated",
            "ExpressionAttributeValues": {":updated": rows.number(read.updated_at)},
        }
        try:
            self._transact([note], deletions=[record])
        except ClientError as error:
            codes = [each.get("Code") for each in error.response.get("CancellationReasons", [])]
            if codes[:1] == ["ConditionalCheckFailed"]:
                return False
            raise Unavailable(log=f"forget: {codes}") from error
        return True


def _same_serial(name: str, record: CertificateRecord | None, plain: dict[str, Any]) -> str:
    if record is None:
        return f"attribute_not_exists({name})"
    plain[f":{name}"] = record.serial
    return f"{name}.serial = :{name}"


def _same_set(name: str, members: frozenset[str], plain: dict[str, Any]) -> str:
    if not members:
        return f"attribute_not_exists({name})"
    plain[f":{name}Read"] = set(members)
    return f"{name} = :{name}Read"


def _written(sets: dict[str, frozenset[str]], plain: dict[str, Any], group: str | None) -> str:
    """Return the update expression. DynamoDB has no empty set, so an empty one is removed.

    `group` is the new name of a renamed group, or None.
    """
    plain.update({f":{name}s": set(members) for name, members in sets.items() if members})
    kept = [f"{name} = :{name}s" for name, members in sets.items() if members]
    if group:
        kept, plain[":renamed"] = [*kept, "#group = :renamed"], group
    gone = [name for name, members in sets.items() if not members]
    parts = [f"SET {', '.join(kept)}"] * bool(kept) + [f"REMOVE {', '.join(gone)}"] * bool(gone)
    return " ".join(parts)
