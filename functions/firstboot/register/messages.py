"""The messages that ask for a registration: our own, and S3's notifications."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

from firstboot.domain.errors import MalformedJson, MalformedRequest
from firstboot.domain.names import DeviceId, certificate_owner, device_id


@dataclass(frozen=True)
class Order:
    """A device that AWS IoT is to follow. `since` is when that became so (epoch seconds), `slot` when it
    is this one's turn (epoch milliseconds); None if it has not asked for its turn yet.
    """

    device_id: DeviceId
    since: int
    slot: int | None = None


URGENT_SLOT = 0
"""The turn of a message that waits for nobody."""


def parse(record: dict[str, Any]) -> list[Order]:
    """What an SQS record orders: ours `{"deviceId", "since"?, "slot"?}`, or S3's event, which may tell
    of several objects, or of none when it only tests the queue.

    Raises MalformedJson, MalformedRequest, DeviceIdInvalid.
    """
    try:
        body = json.loads(record["body"])
    except ValueError as error:
        raise MalformedJson(log=str(error)) from error
    sent = int(record["attributes"]["SentTimestamp"]) // 1_000
    try:
        if "deviceId" in body:
            return [Order(device_id(body["deviceId"]), int(body.get("since", sent)), _slot(body))]
        return [_stored(each) for each in body.get("Records", [])]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedRequest(log=f"message {record['messageId']}: {error!r}") from error


def _slot(body: dict[str, Any]) -> int | None:
    return int(body["slot"]) if body.get("slot") is not None else None


def _stored(event: dict[str, Any]) -> Order:
    """Amazon S3 user guide, "Event message structure": the key is URL-encoded."""
    key = unquote_plus(event["s3"]["object"]["key"])
    return Order(certificate_owner(key), int(datetime.fromisoformat(event["eventTime"]).timestamp()))


def render(order: Order) -> str:
    """The message that orders it."""
    slot = {} if order.slot is None else {"slot": order.slot}
    return json.dumps({"deviceId": order.device_id, "since": order.since} | slot)
