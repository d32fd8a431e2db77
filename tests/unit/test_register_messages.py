"""Test the messages that order a reconciliation: Firstboot's own, and S3's events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.clock import from_epoch
from firstboot.domain.errors import FirstbootError
from firstboot.domain.names import DeviceId
from firstboot.domain.rate_limiter import Priority
from firstboot.register.messages import Order, parse, render

# The event of Amazon S3's user guide, "Event message structure", with only the members that are always there.
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
    """Return an SQS record with this body, sent at 1,764,000,000."""
    text = body if isinstance(body, str) else json.dumps(body)
    return {"messageId": "m", "body": text, "attributes": {"SentTimestamp": "1764000000999"}}


def test_an_s3_event_orders_its_device_since_its_time() -> None:
    """An S3 event orders a reconciliation of the device in the object's key, since the event's time."""
    assert parse(record(S3)) == [Order(DeviceId("gw-1"), from_epoch(1_795_343_979), Priority.CERTIFICATE)]


def test_the_test_event_of_s3_orders_nothing() -> None:
    """S3's test event, which S3 sends when a queue is configured, orders nothing."""
    assert parse(record(TEST_EVENT)) == []


def test_our_own_message_counts_from_when_it_was_sent() -> None:
    """A message that names only a device counts from the time at which it was sent."""
    assert parse(record({"deviceId": "gw-1"})) == [Order(DeviceId("gw-1"), from_epoch(1_764_000_000))]


@pytest.mark.parametrize("priority", Priority)
def test_a_message_that_is_sent_again_stays_itself(priority: Priority) -> None:
    """A message keeps its age, its priority, its tries and its place in the history when it is sent again."""
    order = Order(DeviceId("gw-1"), from_epoch(7), priority, tries=3, after="4f")
    assert parse(record(render(order))) == [order]


@pytest.mark.parametrize(
    "body",
    [
        *("", "{", "null", "7", "[]", '"deviceId"', '{"deviceId": 7}', '{"deviceId": "../x"}'),
        *(
            '{"deviceId": "gw-1", "priority": "soon"}',
            '{"deviceId": "gw-1", "tries": "many"}',
            '{"deviceId": "gw-1", "after": 7}',
            f'{{"deviceId": "gw-1", "since": {10**30}}}',
            '{"Records": [{}]}',
            '{"Records": 7}',
            '{"deviceId": null}',
        ),
    ],
)
def test_an_invalid_message_is_refused(body: str) -> None:
    """An invalid message raises one of Firstboot's errors, so that it is counted and kept."""
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
def test_every_body_gives_orders_or_an_error(body: object) -> None:
    """Any JSON body either gives orders or raises one of Firstboot's errors."""
    try:
        assert isinstance(parse(record(body)), list)
    except FirstbootError:
        return
