"""Test which fleet definition is in force: the deployed one or the published one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from firstboot.aws import clients
from firstboot.aws.s3.fleet import FleetSource, PublishedFleet
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.domain.publication import TOMBSTONE
from tests import factories
from tests.aws.deployed import ACCOUNT
from tests.fleets import fleet, group

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DEPLOYED = fleet(group("gateways", factories.authority()))
NEWER = replace(DEPLOYED, rules="", base=DEPLOYED.hash)


@pytest.fixture
def source(bucket: str) -> FleetSource:
    """Return a source that reads the published fleet every minute."""
    return FleetSource(clients.s3(ACCOUNT), bucket, DEPLOYED, 60, print)


def publish(fleet: Fleet) -> None:
    """Publish a fleet over what is published."""
    published = PublishedFleet(clients.s3(ACCOUNT), "certificates")
    assert published.write(fleet.to_json().encode(), published.read())


def later(seconds: int) -> datetime:
    """Return the time this many seconds after NOW."""
    return NOW + timedelta(seconds=seconds)


def test_without_a_published_fleet_the_deployed_one_is_in_force(source: FleetSource) -> None:
    """The deployed fleet is in force while no fleet is published."""
    assert source.current(NOW) is DEPLOYED


def test_a_published_fleet_is_seen_at_the_next_reading(source: FleetSource) -> None:
    """A published fleet is in force from the next reading on, a minute after the last one."""
    source.current(NOW)
    publish(NEWER)
    assert source.current(later(59)) == DEPLOYED
    assert source.current(later(60)) == NEWER


def test_an_unchanged_fleet_is_not_parsed_again(source: FleetSource) -> None:
    """An unchanged fleet stays the same object, so that callers can keep parsed rules by its identity."""
    publish(NEWER)
    assert source.current(NOW) is source.current(later(60)) is source.current(later(120))


def test_a_withdrawn_fleet_leaves_the_deployed_one(source: FleetSource, bucket: str) -> None:
    """The deployed fleet is in force again after the published one was deleted."""
    publish(NEWER)
    source.current(NOW)
    boto3.client("s3").delete_object(Bucket=bucket, Key=PUBLISHED_FLEET_KEY)
    assert source.current(later(60)) == DEPLOYED


def test_a_fleet_may_be_published_again(source: FleetSource, bucket: str) -> None:
    """A fleet that is deleted and published again is in force, although S3 gives it the same ETag."""
    publish(NEWER)
    source.current(NOW)
    boto3.client("s3").delete_object(Bucket=bucket, Key=PUBLISHED_FLEET_KEY)
    assert source.current(later(60)) is DEPLOYED
    publish(NEWER)
    assert source.current(later(120)) == NEWER


def test_another_deployments_fleet_is_ignored(source: FleetSource) -> None:
    """A fleet that was published on top of another deployment is ignored."""
    publish(replace(NEWER, base="another"))
    assert source.current(NOW) == DEPLOYED


def test_another_versions_fleet_is_ignored(source: FleetSource, bucket: str) -> None:
    """A fleet of an older version may lack members that this one reads, and is ignored without a failure."""
    body = json.dumps({"base": "another", "groups": {}}).encode()
    boto3.client("s3").put_object(Bucket=bucket, Key=PUBLISHED_FLEET_KEY, Body=body)
    assert source.current(NOW) == DEPLOYED


@pytest.mark.parametrize(
    "failure",
    [
        ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "GetObject"),
        EndpointConnectionError(endpoint_url="https://s3"),
    ],
)
def test_during_an_outage_of_s3_the_last_fleet_stays(
    source: FleetSource, bucket: str, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """An outage of S3 keeps the fleet that was read; before the first reading, every decision is refused."""

    def fail(**_: Any) -> None:
        raise failure

    publish(NEWER)
    source.current(NOW)
    assert not source.is_stale
    with monkeypatch.context() as outage:
        outage.setattr(clients.s3(ACCOUNT), "get_object", fail)
        assert source.current(later(60)) == NEWER
        assert source.is_stale
        with pytest.raises(Unavailable):
            FleetSource(clients.s3(ACCOUNT), bucket, DEPLOYED, 60, print).current(NOW)
    source.current(later(120))
    assert not source.is_stale


def test_a_tombstone_leaves_the_deployed_fleet(source: FleetSource, bucket: str) -> None:
    """A publication that a deployment ended is not in force."""
    publish(NEWER)
    assert source.current(NOW) == NEWER
    boto3.client("s3").put_object(Bucket=bucket, Key=PUBLISHED_FLEET_KEY, Body=TOMBSTONE)
    assert source.current(later(60)) is DEPLOYED


def test_a_readable_fleet_ends_an_unreadable_one(source: FleetSource, bucket: str) -> None:
    """A fleet that is published over an unreadable one is in force at the next reading."""
    publish(NEWER)
    assert source.current(NOW) == NEWER
    boto3.client("s3").put_object(Bucket=bucket, Key=PUBLISHED_FLEET_KEY, Body=b"{")
    assert source.current(later(60)) == NEWER
    newest = replace(NEWER, schema="")
    publish(newest)
    assert source.current(later(120)) == newest


def test_of_two_writes_over_the_same_publication_one_is_made(bucket: str) -> None:
    """A write over a publication that was changed, deleted or made in the meantime writes nothing."""
    published = PublishedFleet(clients.s3(ACCOUNT), bucket)
    assert published.read() is None
    assert published.write(b"1", None)
    first = published.read()
    assert first
    assert not published.write(b"2", None)
    assert published.write(b"3", first)
    assert not published.write(b"4", first)
    third = published.read()
    assert third
    assert third.text == b"3"
    boto3.client("s3").delete_object(Bucket=bucket, Key=PUBLISHED_FLEET_KEY)
    assert not published.write(b"5", third)
    assert published.read() is None
