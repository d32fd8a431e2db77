"""The messages that ask for a registration: our own, and S3's notifications."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from firstboot.domain.clock import (
    EPOCH,
    epoch,
    epoch_milliseconds,
    from_epoch,
    from_epoch_milliseconds,
    whole_seconds,
)
from firstboot.domain.errors import MalformedJson, MalformedRequest
from firstboot.domain.names import DeviceId, certificate_owner, device_id


@dataclass(frozen=True)
class Order:
    """A device for which AWS IoT must be reconciled since `since` (whole seconds). `slot` is its slot of
    the rate limiter (whole milliseconds); None if it has not taken one yet.
    """

    device_id: DeviceId
    since: datetime
    slot: datetime | None = None


URGENT_SLOT = EPOCH
"""The slot of a message that does not wait: long past."""


def parse(record: dict[str, Any]) -> list[Order]:
    """What an SQS record orders: ours `{"deviceId", "since"?, "slot"?}`, or S3's event, which may tell
    of several objects, or of none when it only tests the queue.

    Raises MalformedJson, MalformedRequest, DeviceIdInvalid.
    """
    try:
        body = json.loads(record["body"])
    except ValueError as error:
        raise MalformedJson(log=str(error)) from error
    sent = int(record["attributes"]["SentTimestamp"]) // 1_000  # SQS: epoch milliseconds
    try:
        if "deviceId" in body:
            return [Order(device_id(body["deviceId"]), from_epoch(int(body.get("since", sent))), _slot(body))]
        return [_stored(each) for each in body.get("Records", [])]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedRequest(log=f"message {record['messageId']}: {error!r}") from error


def _slot(body: dict[str, Any]) -> datetime | None:
    return from_epoch_milliseconds(int(body["slot"])) if body.get("slot") is not None else None


def _stored(event: dict[str, Any]) -> Order:
    """Amazon S3 user guide, "Event message structure": the key is URL-encoded."""
    key = unquote_plus(event["s3"]["object"]["key"])
    since = datetime.fromisoformat(event["eventTime"]).astimezone(UTC)
    return Order(certificate_owner(key), whole_seconds(since))


def render(order: Order) -> str:
    """Return the message that orders it: `since` in epoch seconds, `slot` in epoch milliseconds."""
    slot = {} if order.slot is None else {"slot": epoch_milliseconds(order.slot)}
    return json.dumps({"deviceId": order.device_id, "since": epoch(order.since)} | slot)
