"""Messages that order a reconciliation: our own, and S3's notifications of stored certificates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from firstboot.domain.clock import (
    epoch,
    from_epoch,
    whole_seconds,
)
from firstboot.domain.names import DeviceId, certificate_owner, device_id
from firstboot.domain.rate_limiter import Priority
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import QueueMessage, convert, parse_json


@dataclass(frozen=True)
class Order:
    """A device that AWS IoT must be reconciled for.

    `since` is the time of the cause (whole seconds). `tries` counts how often the order was sent again
    because AWS IoT was not ready. `after` is where the work on the device's former certificates continues;
    None if it has not begun.
    """

    device_id: DeviceId
    since: datetime
    priority: Priority = Priority.CHANGE
    tries: int = 0
    after: str | None = None


class ReconcileMessage(QueueMessage, frozen=True, kw_only=True):
    """An order as it is queued: `since` is in epoch seconds."""

    device_id: str
    since: int | None = None
    priority: Priority = Priority.CHANGE
    tries: int = 0
    after: str | None = None


class _S3Object(msgspec.Struct, frozen=True):
    """An object in a notification. `key` is URL-encoded."""

    key: str


class _S3Entity(msgspec.Struct, frozen=True):
    object: _S3Object


class _S3Record(msgspec.Struct, frozen=True, rename="camel"):
    event_time: datetime
    s3: _S3Entity


class S3Notification(msgspec.Struct, frozen=True, rename={"records": "Records"}):
    """A notification of S3 (Amazon S3 user guide, "Event message structure").

    The message with which S3 tests a queue has no records.
    """

    records: tuple[_S3Record, ...] = ()


def parse(record: dict[str, Any]) -> list[Order]:
    """Return the orders in an SQS record. S3's notification may name several objects, or none.

    Raises MalformedJson, MalformedRequest, DeviceIdInvalid.
    """
    body = parse_json(record["body"])
    try:
        if isinstance(body, dict) and "deviceId" in body:
            return [_ours(convert(ReconcileMessage, body), int(record["attributes"]["SentTimestamp"]))]
        return [_stored(each) for each in convert(S3Notification, body).records]
    except ValueError as error:  # an instant that datetime can't represent
        raise MalformedRequest(log=f"message {record['messageId']}: {error!r}") from error


def _ours(message: ReconcileMessage, sent_milliseconds: int) -> Order:
    since = sent_milliseconds // 1_000 if message.since is None else message.since
    return Order(
        device_id(message.device_id), from_epoch(since), message.priority, message.tries, message.after
    )


def _stored(event: _S3Record) -> Order:
    owner = certificate_owner(unquote_plus(event.s3.object.key))
    return Order(owner, whole_seconds(event.event_time.astimezone(UTC)), Priority.CERTIFICATE)


def render(order: Order) -> str:
    """Return the message that orders a reconciliation."""
    message = ReconcileMessage(
        device_id=order.device_id,
        since=epoch(order.since),
        priority=order.priority,
        tries=order.tries,
        after=order.after,
    )
    return msgspec.json.encode(message).decode()
