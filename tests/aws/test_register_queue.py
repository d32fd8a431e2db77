"""The orders of `register` come at their turn, from the table's stream too, and are not lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from firstboot.aws import clients
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.aws.s3.fleet import FleetSource
from firstboot.domain.clock import from_epoch_milliseconds
from firstboot.domain.errors import Unavailable
from firstboot.domain.rate_limiter import Priority, Slot
from firstboot.register.outcome import Outcome
from firstboot.register.reconcile import Reconcile
from firstboot.register.settings import WorkSettings
from tests.aws.product import CONTEXT, Product
from tests.aws.registering import Registering

NOW = from_epoch_milliseconds(1_795_000_000_000)
GAP = timedelta(milliseconds=250)
RATE = 4  # a slot every GAP
URGENT = Priority.REVOCATION


@pytest.fixture
def limiter(table: str) -> DynamoRateLimiter:
    """Return the rate limiter of a fresh table."""
    return DynamoRateLimiter(clients.dynamodb(), table)


def taken(limiter: DynamoRateLimiter, now: datetime, priority: Priority = URGENT) -> datetime:
    """Return the slot that a priority gets."""
    slot = limiter.take(now, RATE, priority)
    assert slot.taken
    return slot.at


def test_slots_come_at_the_rate(limiter: DynamoRateLimiter) -> None:
    """Concurrent reservations get slots one after the other, and unused slots are not saved up."""
    assert [taken(limiter, NOW) for _ in range(4)] == [NOW, NOW + GAP, NOW + 2 * GAP, NOW + 3 * GAP]
    later = NOW + timedelta(seconds=10)
    assert taken(limiter, later) == later
    assert taken(limiter, later) == later + GAP


def test_a_part_of_a_slot_is_taken(limiter: DynamoRateLimiter) -> None:
    """A taker of half a slot leaves the other half to the next one."""
    assert [limiter.take(NOW, RATE, URGENT, share=0.5).at for _ in range(3)] == [
        *(NOW, NOW + GAP / 2, NOW + GAP)
    ]


@pytest.mark.parametrize(
    ("priority", "slots"), [(Priority.CHANGE, 4), (Priority.CERTIFICATE, 2), (Priority.JITR, 0)]
)
def test_a_priority_gets_no_slot_too_far_ahead(
    limiter: DynamoRateLimiter, priority: Priority, slots: int
) -> None:
    """A priority gets a slot up to its own distance ahead, and is told when it may ask again."""
    for _ in range(slots):
        taken(limiter, NOW)
    assert taken(limiter, NOW, priority) == NOW + slots * GAP
    assert limiter.take(NOW, RATE, priority) == Slot(NOW + GAP, taken=False)
    assert limiter.take(NOW + GAP, RATE, priority).taken
    assert limiter.take(NOW, RATE, URGENT).taken


def test_the_row_holds_epoch_milliseconds(limiter: DynamoRateLimiter, table: str) -> None:
    """The row has epoch milliseconds, which other versions read, without the microseconds."""
    assert taken(limiter, NOW + timedelta(microseconds=999)) == NOW
    row = boto3.client("dynamodb").get_item(TableName=table, Key={"pk": {"S": "PACE#iot"}})["Item"]
    assert row["next"] == {"N": "1795000000250"}


def test_a_slow_clock_gets_no_earlier_slot(limiter: DynamoRateLimiter) -> None:
    """A process whose clock is behind gets no earlier slot than the row allows."""
    taken(limiter, NOW)
    assert taken(limiter, NOW - timedelta(minutes=1)) == NOW + GAP


def test_the_backlog_is_what_the_next_message_waits(limiter: DynamoRateLimiter, table: str) -> None:
    """Every process sees the backlog, and it is read from the table at most every three seconds."""
    other = DynamoRateLimiter(clients.dynamodb(), table)
    assert other.backlog_seconds(NOW) == 0
    assert limiter.note_backlog(39, NOW, RATE) == 10
    assert other.backlog_seconds(NOW + timedelta(milliseconds=2_999)) == 0
    assert other.backlog_seconds(NOW + timedelta(seconds=3)) == 7
    assert limiter.backlog_seconds(NOW) == 10
    assert limiter.backlog_seconds(NOW + timedelta(seconds=2)) == 8
    assert limiter.backlog_seconds(NOW + timedelta(seconds=20)) == 0


def test_a_row_that_others_change_all_the_time_is_unavailable(
    limiter: DynamoRateLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reservation whose row keeps changing fails, and no message is handled without a slot."""
    refused = ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "UpdateItem")

    def refuse(**_: object) -> None:
        raise refused

    monkeypatch.setattr(clients.dynamodb(), "update_item", refuse)
    with pytest.raises(Unavailable):
        limiter.take(NOW, RATE, URGENT)


@pytest.fixture
def still(registering: Registering, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Return the time of a clock that only waiting advances, with a rate of one slot a second."""
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


def test_a_message_waits_for_its_turn_inside_the_function(still: datetime, registering: Registering) -> None:
    """A message whose turn is later is handled after a wait, and no message goes back to a queue."""
    for name in ("gw-1", "gw-2", "gw-3"):
        registering.enroll(name)
        assert registering.work(name) == {"batchItemFailures": []}
        assert registering.noted(name, "registered")
    assert registering.product.lambdas.now() == still + timedelta(seconds=2)
    assert "SendMessage" not in registering.calls.names
    assert [waiting(name) for name in ("urgent", "changes", "registrations")] == [[], [], []]


@pytest.mark.parametrize(("tries", "delay"), [(0, 5), (1, 10), (4, 80), (8, 900)], ids=str)
def test_an_order_that_aws_iot_is_not_ready_for_comes_again(
    registering: Registering, monkeypatch: pytest.MonkeyPatch, tries: int, delay: int
) -> None:
    """A throttled order is sent again with a growing delay, and its message does not count as failed."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(clients.sqs(), "send_message", lambda **parameters: sent.append(parameters))
    registering.enroll("gw-1")
    registering.calls.failing = "DescribeThing"
    members = {"since": 7, "priority": "certificate", "tries": tries}
    assert registering.work("gw-1", **members) == {"batchItemFailures": []}
    (message,) = sent
    assert json.loads(message["MessageBody"]) == {"deviceId": "gw-1"} | members | {"tries": tries + 1}
    assert message["DelaySeconds"] == delay
    assert message["QueueUrl"].endswith("/changes")


def test_an_order_comes_again_after_work_by_a_fleet_that_may_be_old(
    registering: Registering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device is reconciled while the fleet can't be read, and once more afterwards.

    The sweep of a published fleet orders each device once, so a grant that the fleet takes away would stay.
    """
    registering.enroll("gw-1")
    monkeypatch.setattr(FleetSource, "is_stale", property(lambda _: True))
    assert registering.work("gw-1") == {"batchItemFailures": []}
    assert registering.noted("gw-1", "registered")
    assert registering.calls.names.count("SendMessage") == 1


def test_an_order_that_came_often_enough_fails(registering: Registering) -> None:
    """After nine tries the message fails, so that it reaches the dead-letter queue and an alarm rings."""
    registering.enroll("gw-1")
    registering.calls.failing = "DescribeThing"
    assert registering.work("gw-1", tries=9) == {"batchItemFailures": [{"itemIdentifier": "0"}]}


def test_the_rest_of_a_history_comes_after_new_revocations(
    registering: Registering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next slice of a device's former certificates has the priority of a change, and begins its tries."""
    monkeypatch.setattr(Reconcile, "__call__", lambda *_: Outcome(rest="4f"))
    registering.work("gw-1", since=7, priority="revocation", tries=3, after="2e")
    assert waiting("changes") == [{"deviceId": "gw-1", "since": 7, "after": "4f"}]
    assert waiting("urgent") == []


def test_age_and_backlog_are_counted(
    still: datetime, registering: Registering, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message's age is counted from its first sending, and the backlog from the messages that wait."""
    registering.enroll("gw-1")
    boto3.client("sqs").send_message(QueueUrl=WorkSettings.read().certificates_queue, MessageBody="{}")
    registering.work("gw-1", since=int(still.timestamp()) - 3_600)
    counted = capsys.readouterr().out
    assert '"RegistrationAge":[3600.0]' in counted
    assert '"RegistrationBacklog":[1.0]' in counted


def test_an_order_is_handled_although_nothing_can_be_counted(
    registering: Registering, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order is handled even if SQS does not say how many messages wait."""
    registering.enroll("gw-1")
    registering.product.lambdas.restart()
    registering.calls.failing = "GetQueueAttributes"
    assert registering.work("gw-1") == {"batchItemFailures": []}
    assert registering.noted("gw-1", "registered")


def test_one_bad_message_fails_alone(registering: Registering, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad message fails alone: the others of its batch are handled, and it is kept for the operator."""
    registering.enroll("gw-1")
    good = json.dumps({"deviceId": "gw-1"})
    assert registering.records("nonsense", good) == {"batchItemFailures": [{"itemIdentifier": "0"}]}
    assert registering.noted("gw-1", "registered")
    assert '"MalformedJson":[1.0]' in capsys.readouterr().out


def test_an_unforeseen_error_fails_alone(
    registering: Registering, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unforeseen error of one message is logged and counted, and the message is tried again."""
    monkeypatch.setattr(Reconcile, "__call__", lambda *_: 1 / 0)
    assert registering.work("gw-1") == {"batchItemFailures": [{"itemIdentifier": "0"}]}
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
    """An attribute and a revocation are ordered in queues of their own, and a note of `register` never."""
    device = registering.enroll("gw-1")
    product = registering.product
    for change, changes, urgent in (
        (lambda: registering.work("gw-1"), 0, 0),
        (device.commit, 0, 0),
        (lambda: product.operate("devices.set", deviceId="gw-1", attributes={"site": "berlin"}), 1, 0),
        (lambda: product.operate("devices.revoke", deviceId="gw-1"), 0, 1),
    ):
        product.lambdas.changes(stream(product, "gw-1", change), CONTEXT)
        sent = [waiting("changes"), waiting("urgent")]
        assert [len(messages) for messages in sent] == [changes, urgent]
        assert all(message["deviceId"] == "gw-1" for messages in sent for message in messages)
        assert [message.get("priority") for message in sent[1]] == ["revocation"] * urgent


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
