"""What `register` notes in a device record about AWS IoT."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb import rows
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.device import CertificateRecord, Device, Status
from firstboot.domain.names import DeviceId

_NAMES = {"#status": "status", "#group": "group"}


class DynamoReconciled(DynamoTable):
    """Write to device records what AWS IoT was brought to, and remove the records of deleted devices."""

    def note(self, read: Device, registered: frozenset[str], attached: frozenset[str]) -> bool:
        """UpdateItem, if all that was decided by is as it was `read`. It is written even if it says
        nothing new: that the condition held is worth knowing.
        """
        plain: dict[str, Any] = {
            ":status": read.status.value,
            ":group": read.group,
            ":generation": read.generation,
            ":attributes": read.attributes,
            ":claims": read.claims,
        }
        conditions = ["#status = :status", "#group = :group", "generation = :generation"]
        conditions += ["attributes = :attributes", "claims = :claims"]
        for name, record in {"pending": read.pending, "active": read.active}.items():
            conditions.append(_same_serial(name, record, plain))
        conditions.append(_same_set("registered", read.registered, plain))
        expression = _written({"registered": registered, "attached": attached}, plain)
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

    def forget(self, device_id: DeviceId) -> None:
        """DeleteItem, if the device is still a deleted one; a repeat finds nothing to delete."""
        try:
            with answered("ConditionalCheckFailedException"):
                self._client.delete_item(
                    TableName=self._table,
                    Key=rows.device_key(device_id),
                    ConditionExpression="#status = :deleted",
                    ExpressionAttributeNames={"#status": "status"},
                    ExpressionAttributeValues=rows.values({":deleted": Status.DELETED.value}),
                )
        except ClientError:
            return


def _same_serial(name: str, record: CertificateRecord | None, plain: dict[str, Any]) -> str:
    if record is None:
        return f"attribute_not_exists({name})"
    plain[f":{name}"] = record.serial
    return f"{name}.serial = :{name}"


def _same_set(name: str, members: frozenset[str], plain: dict[str, Any]) -> str:
    if not members:
        return f"attribute_not_exists({name})"
    plain[":read"] = set(members)
    return f"{name} = :read"


def _written(sets: dict[str, frozenset[str]], plain: dict[str, Any]) -> str:
    """The update: DynamoDB has no empty set, so one goes away."""
    plain.update({f":{name}s": set(members) for name, members in sets.items() if members})
    kept = [f"{name} = :{name}s" for name, members in sets.items() if members]
    gone = [name for name, members in sets.items() if not members]
    parts = [f"SET {', '.join(kept)}"] * bool(kept) + [f"REMOVE {', '.join(gone)}"] * bool(gone)
    return " ".join(parts)
