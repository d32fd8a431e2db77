"""Test how a deployment of another fleet ends a publication."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from firstboot.authority.handlers import PUBLICATION, PUBLICATION_ID, Retire
from firstboot.aws import clients
from firstboot.aws.s3.fleet import PublishedFleet
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.domain.publication import TOMBSTONE, Publication
from firstboot.runtime.guard import Guard
from tests.aws.deployed import ACCOUNT

NEW, OLD = "a" * 64, "b" * 64
ANSWER = {"PhysicalResourceId": PUBLICATION_ID}


def event(request: str) -> dict[str, Any]:
    """Return CloudFormation's event about a deployment of the fleet NEW."""
    return {
        "RequestType": request,
        "ResourceType": PUBLICATION,
        "ResourceProperties": {"FleetHash": NEW},
    }


def put(text: bytes) -> None:
    """Put a publication into the bucket."""
    boto3.client("s3").put_object(Bucket="certificates", Key=PUBLISHED_FLEET_KEY, Body=text)


def on(base: str) -> bytes:
    """Return a publication that builds on a fleet."""
    return f'{{"base":"{base}"}}'.encode()


@pytest.fixture
def published(bucket: str) -> PublishedFleet:
    """Return the published object."""
    return PublishedFleet(clients.s3(ACCOUNT), bucket)


@pytest.fixture
def retire(published: PublishedFleet) -> Retire:
    """Return the handler."""
    return Retire(published, Guard("authority"))


@pytest.mark.parametrize(
    ("request_type", "before", "after"),
    [
        ("Create", on(OLD), TOMBSTONE),
        ("Update", on(OLD), TOMBSTONE),
        ("Delete", on(OLD), on(OLD)),
        ("Create", on(NEW), on(NEW)),
        ("Update", on(NEW), on(NEW)),
        ("Update", TOMBSTONE, TOMBSTONE),
        ("Create", b"{", b"{"),
        ("Update", b"{", TOMBSTONE),
    ],
)
def test_a_publication_over_another_fleet_is_ended(
    retire: Retire, published: PublishedFleet, request_type: str, before: bytes, after: bytes
) -> None:
    """A deployment ends the publications over other fleets, and a repeated event changes nothing."""
    put(before)
    for _ in range(2):
        assert retire(event(request_type)) == ANSWER
        found = published.read()
        assert found
        assert found.text == after


def test_without_a_publication_nothing_is_written(retire: Retire, published: PublishedFleet) -> None:
    """A deployment over no publication writes no object."""
    assert retire(event("Create")) == ANSWER
    assert published.read() is None


def test_a_publication_that_is_made_meanwhile_is_kept(retire: Retire, published: PublishedFleet) -> None:
    """A publication over the new fleet that is written during the event is not ended."""
    put(on(OLD))
    todo = [on(NEW)]

    def meanwhile(**_: Any) -> None:
        if todo:
            put(todo.pop())

    clients.s3(ACCOUNT).meta.events.register("before-call.s3.PutObject", meanwhile)
    assert retire(event("Update")) == ANSWER
    found = published.read()
    assert found
    assert found.text == on(NEW)


class Busy:
    """A published object that another writer changes before every write."""

    def read(self) -> Publication:
        """Return a publication over the old fleet."""
        return Publication(on(OLD), "etag")

    def write(self, _: bytes, __: Publication | None) -> bool:
        """Write nothing."""
        return False


def test_a_publication_that_keeps_changing_fails_the_deployment() -> None:
    """The deployment fails, and is rolled back, if the publication changes at every attempt."""
    with pytest.raises(Unavailable):
        Retire(Busy(), Guard("authority"))(event("Update"))
