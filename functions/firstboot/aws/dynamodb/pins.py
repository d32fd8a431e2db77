"""One-time admissions in the device records, and notes of the bootstrap keys that were refused.

The pin itself is written by the claim (claims.py), and nothing else changes it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.aws.dynamodb import rows
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.device import Device, KeyAdmission, RefusedKey, Status
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId

_NOTED_EVERY = timedelta(minutes=1)
"""How often a refused bootstrap key is noted in a device record at most."""


class DynamoPins(DynamoTable):
    """The bootstrap keys of the device records. Every method raises Unavailable."""

    def admit_once(self, device_id: DeviceId, admission: KeyAdmission, now: datetime) -> Device:
        """Write a device's one-time admission in the place of an earlier one; return the record (UpdateItem).

        Raises Unavailable also if the device was revoked, deleted or bound to this key in the meantime.
        """
        values = {
            ":admission": rows.admission_row(admission),
            ":pin": admission.key,
            ":now": now,
            ":expected": Status.EXPECTED.value,
            ":enrolled": Status.ENROLLED.value,
        }
        try:
            with answered("ConditionalCheckFailedException"):
                row = self._updated(
                    Key=rows.device_key(device_id),
                    UpdateExpression="SET admission = :admission, updatedAt = :now",
                    ConditionExpression=(
                        "#status IN (:expected, :enrolled) AND (attribute_not_exists(pin) OR pin <> :pin)"
                    ),
                    ExpressionAttributeNames={"#status": "status"},
                    ExpressionAttributeValues=rows.values(values),
                    ReturnValues="ALL_NEW",
                )
        except ClientError as error:
            raise Unavailable(log=f"{device_id}: the record changed meanwhile") from error
        return rows.device(row)

    def note_refused_key(self, device: Device, refused: RefusedKey) -> None:
        """Note in a record which bootstrap key was refused last (UpdateItem).

        `device` is the record as it refused the key. A record is written once a minute at most, so that an
        attacker who asks again and again does not occupy it.
        """
        known, due = device.refused_key, refused.at - _NOTED_EVERY
        if known and known.at > due:
            return
        # A conflict is with another call about this device, and the next refusal is noted.
        with (
            suppress(ClientError),
            answered("ConditionalCheckFailedException", "TransactionConflictException"),
        ):
            self._client.update_item(
                TableName=self._table,
                Key=rows.device_key(device.device_id),
                UpdateExpression="SET refusedKey = :refused",
                # Another process may have noted a key in the meantime, or the record may be gone.
                ConditionExpression=(
                    "attribute_exists(pk)"
                    " AND (attribute_not_exists(refusedKey) OR refusedKey.refusedAt <= :due)"
                ),
                ExpressionAttributeValues=rows.values(
                    {":refused": rows.refused_key_row(refused), ":due": due}
                ),
            )
