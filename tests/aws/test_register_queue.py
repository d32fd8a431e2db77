"""The messages of `register` are rate-limited or urgent, come from the table's stream, and are not lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from firstboot.aws import clients
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.domain.clock import from_epoch_milliseconds
from firstboot.domain.errors import Unavailable
from firstboot.register.reconcile import Reconcile
from tests.aws.product import CONTEXT, Product
from tests.aws.registering import Registering

NOW = from_epoch_milliseconds(1_795_000_000_000)
GAP = timedelta(milliseconds=250)
RATE = 4  # a slot every GAP


@pytest.fixture
def limiter(table: str) -> DynamoRateLimiter:
    """Return the rate limiter of a fresh table."""
    return DynamoRateLimiter(clients.dynamodb(), table)


def test_slots_come_at_the_rate(limiter: DynamoRateLimiter) -> None:
    """Concurrent reservations get slots one after the other, and unused slots are not saved up."""
    assert [limiter.reserve(NOW, RATE) for _ in range(4)] == [NOW, NOW + GAP, NOW + 2 * GAP, NOW + 3 * GAP]
    later = NOW + timedelta(seconds=10)
    assert limiter.reserve(later, RATE) == later
    assert limiter.reserve(later, RATE) == later + GAP


def test_the_row_holds_epoch_milliseconds(limiter: DynamoRateLimiter, table: str) -> None:
    """The row has epoch milliseconds, which other versions read, without the microseconds."""
    assert limiter.reserve(NOW + timedelta(microseconds=999), RATE) == NOW
    row = boto3.client("dynamodb").get_item(TableName=table, Key={"pk": {"S": "PACE#iot"}})["Item"]
    assert row["next"] == {"N": "1795000000250"}


def test_a_slow_clock_gets_no_earlier_slot(limiter: DynamoRateLimiter) -> None:
    """A process whose clock is behind gets no earlier slot than the row allows."""
    limiter.reserve(NOW, RATE)
    assert limiter.reserve(NOW - timedelta(minutes=1), RATE) == NOW + GAP


def test_the_backlog_is_what_the_next_message_waits(limiter: DynamoRateLimiter, table: str) -> None:
    """Every process sees the backlog, and it is read from the table at most every three seconds."""
    other = DynamoRateLimiter(clients.dynamodb(), table)
    assert other.backlog_seconds(NOW) == 0
    for _ in range(40):
        limiter.reserve(NOW, RATE)
    assert other.backlog_seconds(NOW + timedelta(milliseconds=2_999)) == 0
    assert other.backlog_seconds(NOW + timedelta(seconds=3)) == 7
    assert limiter.backlog_seconds(NOW) == 10
    assert limiter.backlog_seconds(NOW + timedelta(seconds=2)) == 8


def test_a_row_that_others_change_all_the_time_is_unavailable(
    limiter: DynamoRateLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reservation whose row keeps changing fails, and no message is handled without a slot."""
    refused = ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "UpdateItem")

    def refuse(**_: object) -> None:
        raise refused

    monkeypatch.setattr(clients.dynamodb(), "update_item", refuse)
    with pytest.raises(Unavailable):
        limiter.reserve(NOW, RATE)


@pytest.fixture
def still(registering: Registering, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Return the time of a stopped clock, at which no slot is taken, with a rate of one slot a second."""
    now = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    monkeypatch.setenv("FIRSTBOOT_IOT_RATE", "1")
    registering.product.lambdas.restart()
    registering.product.lambdas.clock = lambda: now
    return now


def waiting(name: str) -> list[dict[str, Any]]:
    """Return the messages in a queue, including delayed ones as `{}`."""
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    later = int(attributes["ApproximateNumberOfMessagesDelayed"])
    return [json.loads(message["Body"]) for message in received] + [{}] * later


def test_a_message_with_a_later_slot_is_sent_again(
    still: datetime, registering: Registering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message whose slot is more than a second ahead is sent again with its slot, and takes no other."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(clients.sqs(), "send_message", lambda **parameters: sent.append(parameters))
    for name in ("gw-1", "gw-2", "gw-3"):
        registering.enroll(name)
    bodies = [json.dumps({"deviceId": name, "since": 7}) for name in ("gw-1", "gw-2", "gw-3")]
    assert registering.records(*bodies) == {"batchItemFailures": []}
    assert [bool(registering.noted(name, "registered")) for name in ("gw-1", "gw-2", "gw-3")] == [
        *(True, True, False)
    ]
    (message,) = sent
    slot = int((still + timedelta(seconds=2)).timestamp() * 1_000)
    assert json.loads(message["MessageBody"]) == {"deviceId": "gw-3", "since": 7, "slot": slot}
    assert message["DelaySeconds"] == 2
    registering.product.lambdas.clock = lambda: still + timedelta(seconds=2)
    registering.records(message["MessageBody"])
    assert registering.noted("gw-3", "registered")
    assert "PACE#iot" not in json.dumps([parameters for _, parameters in registering.calls.made], default=str)


def test_an_urgent_message_is_handled_at_once(
    still: datetime, registering: Registering, capsys: pytest.CaptureFixture[str]
) -> None:
    """An urgent message is handled at once, with any backlog."""
    for _ in range(9):
        DynamoRateLimiter(clients.dynamodb(), registering.product.table).reserve(still, 1)
    registering.enroll("gw-1")
    assert registering.work("gw-1", slot=0) == {"batchItemFailures": []}
    assert registering.noted("gw-1", "registered")
    assert '"RegistrationBacklog":[0.0]' in capsys.readouterr().out


def test_age_and_backlog_are_counted(
    still: datetime, registering: Registering, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message's age is counted from its first sending."""
    registering.enroll("gw-1")
    registering.work("gw-1", slot=0, since=int(still.timestamp()) - 3_600)
    assert '"RegistrationAge":[3600.0]' in capsys.readouterr().out


def test_one_bad_message_fails_alone(registering: Registering, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad message fails alone: the others of its batch are handled, and it is kept for the operator."""
    registering.enroll("gw-1")
    good = json.dumps({"deviceId": "gw-1", "slot": 0})
    assert registering.records("nonsense", good) == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    assert registering.noted("gw-1", "registered")
    assert '"MalformedJson":[1.0]' in capsys.readouterr().out


def test_an_unforeseen_error_fails_alone(
    registering: Registering, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unforeseen error of one message is logged and counted, and the message is tried again."""
    monkeypatch.setattr(Reconcile, "__call__", lambda *_: 1 / 0)
    assert registering.work("gw-1", slot=0) == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    assert '"InternalError":[1.0]' in capsys.readouterr().out


def stream(product: Product, device_id: str, change: Any) -> dict[str, Any]:
    """Return the stream event of the change that `change` makes to a device's row."""

    def row() -> dict[str, Any]:
        key = {"pk": {"S": f"DEV#{device_id}"}}
        found: Any = boto3.client("dynamodb").get_item(TableName=product.table, Key=key)["Item"]
        return dict(found)

    old = row()
    change()
    images = {"Keys": {"pk": old["pk"]}, "OldImage": old, "NewImage": row()}
    return {"Records": [{"eventName": "MODIFY", "dynamodb": images}]}


def test_the_stream_orders_what_must_be_followed(registering: Registering) -> None:
    """An attribute is ordered by the rate limiter, a revocation urgently, and a note of `register` never."""
    device = registering.enroll("gw-1")
    product = registering.product
    for change, rate_limited, urgent in (
        (lambda: registering.work("gw-1", slot=0), 0, 0),
        (device.commit, 0, 0),
        (lambda: product.operate("devices.set", deviceId="gw-1", attributes={"site": "berlin"}), 1, 0),
        (lambda: product.operate("devices.revoke", deviceId="gw-1"), 0, 1),
    ):
        product.lambdas.changes(stream(product, "gw-1", change), CONTEXT)
        sent = [waiting("rate-limited"), waiting("urgent")]
        assert [len(messages) for messages in sent] == [rate_limited, urgent]
        assert all(message["deviceId"] == "gw-1" for messages in sent for message in messages)
        assert [("slot" in message) for messages in sent for message in messages] == [
            False
        ] * rate_limited + [True] * urgent


def test_an_order_that_cannot_be_sent_fails_the_batch(
    registering: Registering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an order cannot be sent, the batch fails as a whole and Lambda repeats it."""
    registering.enroll("gw-1")
    failure = ClientError({"Error": {"Code": "ThrottlingException"}}, "SendMessage")

    def refuse(**_: object) -> None:
        raise failure

    monkeypatch.setattr(clients.sqs(), "send_message", refuse)
    event = stream(
        registering.product, "gw-1", lambda: registering.product.operate("devices.revoke", deviceId="gw-1")
    )
    with pytest.raises(Unavailable):
        registering.product.lambdas.changes(event, CONTEXT)
