"""Messages that order a reconciliation: ours and S3's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.clock import from_epoch, from_epoch_milliseconds
from firstboot.domain.errors import FirstbootError
from firstboot.domain.names import DeviceId
from firstboot.register.messages import Order, parse, render

# Amazon S3 user guide, "Event message structure", shortened to what an event always has.
S3 = {
    "Records": [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "us-east-1",
            "eventTime": "2026-11-22T10:39:39.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "bucket": {"name": "firstboot-store", "arn": "arn:aws:s3:::firstboot-store"},
                "object": {"key": "certificates/gw-1/4f.pem", "size": 1024, "sequencer": "0055AED6"},
            },
        }
    ]
}
TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "firstboot-store"}


def record(body: object) -> dict[str, Any]:
    """An SQS record, sent at 1,764,000,000."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {"messageId": "m", "body": text, "attributes": {"SentTimestamp": "1764000000999"}}


def test_s3_tells_of_a_device_since_then() -> None:
    """The key names the device, the event the moment from which it waits."""
    assert parse(record(S3)) == [Order(DeviceId("gw-1"), from_epoch(1_795_343_979))]


def test_s3s_test_orders_nothing() -> None:
    """S3 sends it when a bucket is told of its queue."""
    assert parse(record(TEST_EVENT)) == []


def test_our_own_message_waits_since_it_was_sent() -> None:
    """Whoever sends it need only name the device."""
    assert parse(record({"deviceId": "gw-1"})) == [Order(DeviceId("gw-1"), from_epoch(1_764_000_000))]


@pytest.mark.parametrize("slot", [None, 0, 1_795_343_979_000])
def test_a_message_that_is_sent_again_stays_itself(slot: int | None) -> None:
    """A message keeps its age and its slot when it is sent again."""
    order = Order(DeviceId("gw-1"), from_epoch(7), None if slot is None else from_epoch_milliseconds(slot))
    body = json.loads(render(order))
    assert (body["since"], body.get("slot")) == (7, slot)
    assert parse(record(render(order))) == [order]


@pytest.mark.parametrize(
    "body",
    [
        *("", "{", "null", "7", "[]", '"deviceId"', '{"deviceId": 7}', '{"deviceId": "../x"}'),
        *(
            '{"deviceId": "gw-1", "slot": "soon"}',
            f'{{"deviceId": "gw-1", "slot": {10**30}}}',
            f'{{"deviceId": "gw-1", "since": {10**30}}}',
            '{"Records": [{}]}',
            '{"Records": 7}',
            '{"deviceId": null}',
        ),
    ],
)
def test_what_is_no_message_is_refused(body: str) -> None:
    """By an error of ours, so that it is counted and kept; nothing of it is guessed."""
    if body == "[]":
        body = '{"Records": [{"s3": {"object": {"key": "fleet/published.json"}}}]}'
    with pytest.raises(FirstbootError):
        parse(record(body))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_no_body_gets_through_unseen(body: object) -> None:
    """Whatever JSON it is: orders, or an error of ours."""
    try:
        assert isinstance(parse(record(body)), list)
    except FirstbootError:
        return
