"""The row that says how far the last sweep got, and the queue to `register`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError

from firstboot.aws import rows
from firstboot.aws.clients import answered
from firstboot.aws.table import DynamoTable
from firstboot.errors import Unavailable
from firstboot.names import SWEEP_KEY, DeviceId
from firstboot.sweep import Sweep

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_PACE_KEY = "PACE#iot"

_BATCH = 10
"""Messages a SendMessageBatch takes."""


class DynamoSweeps(DynamoTable):
    """The sweep's row in the registry's table."""

    def read(self) -> Sweep | None:
        """GetItem, consistent."""
        row = self._get(_key(SWEEP_KEY))
        return _sweep(row) if row else None

    def write(self, sweep: Sweep, held_until: int | None) -> bool:
        """PutItem, if the row is the one that is held until then. When a reply is lost, its repeat
        finds the row taken: nobody works until `held_until`, and then the next run goes on.
        """
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if held_until is not None:
            condition = {
                "ConditionExpression": "heldUntil = :known",
                "ExpressionAttributeValues": rows.values({":known": held_until}),
            }
        try:
            with answered("ConditionalCheckFailedException"):
                self._client.put_item(TableName=self._table, Item=_row(sweep), **condition)
        except ClientError:
            return False
        return True

    def backlog(self, now: float) -> int:
        """Seconds (`now` in epoch seconds) until AWS IoT has had all the calls that `register` has
        given a place in its queue; 0 if none waits.
        """
        row = self._get(_key(_PACE_KEY))
        return max(0, round(int(row["next"]["N"]) / 1000 - now)) if row else 0


def _key(key: str) -> rows.Row:
    return {"pk": {"S": key}}


def _row(sweep: Sweep) -> rows.Row:
    plain = {
        "pk": SWEEP_KEY,
        "fleetHash": sweep.fleet_hash,
        "startedAt": sweep.started_at,
        "after": sweep.after,
        "scanned": sweep.scanned,
        "touched": sweep.touched,
        "finishedAt": sweep.finished_at,
        "heldUntil": sweep.held_until,
    }
    return rows.values({name: value for name, value in plain.items() if value is not None})


def _sweep(row: rows.Row) -> Sweep:
    plain = {name: TypeDeserializer().deserialize(value) for name, value in row.items()}
    return Sweep(
        fleet_hash=plain["fleetHash"],
        started_at=int(plain["startedAt"]),
        after=plain.get("after"),
        scanned=int(plain["scanned"]),
        touched=int(plain["touched"]),
        finished_at=int(plain["finishedAt"]) if "finishedAt" in plain else None,
        held_until=int(plain["heldUntil"]),
    )


class RegistrationQueue:
    """The queue that `register` works off; `url` is SQS's."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, devices: Iterable[DeviceId]) -> None:
        """SendMessageBatch of a message a device.

        Raises Unavailable when a message was not taken; others may have been, and a repeat is
        harmless.
        """
        waiting = iter(devices)
        while batch := list(islice(waiting, _BATCH)):
            entries: Any = [
                {"Id": str(index), "MessageBody": json.dumps({"deviceId": device})}
                for index, device in enumerate(batch)
            ]
            with answered():
                answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
            if answer.get("Failed"):
                raise Unavailable(log=f"SendMessageBatch: {sorted({e['Code'] for e in answer['Failed']})}")
