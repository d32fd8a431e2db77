"""Limits under concurrent claims: DynamoDB's transactions over sockets, from many threads."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from firstboot.aws.dynamodb import budget
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.domain.claim import RENEWALS_PER_DAY, Enrollment, Limits, RefusedBy, Renewal, is_claimable
from firstboot.domain.clock import from_epoch
from firstboot.domain.device import Anchor, CertificateRecord, Device, Status
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from tests.flows.conftest import Cloud
from tests.flows.devices import client, output

DEVICES = 1_000
NOW = from_epoch(1_800_000_000)
LATER = NOW + timedelta(minutes=15)


@pytest.fixture
def records(cloud: Cloud) -> DynamoDevices:
    """The deployed device records, with the operator's credentials."""
    return DynamoDevices(client(cloud, "dynamodb"), output(cloud, "Table"))


def _outcome(records: DynamoDevices, number: int, limits: Limits) -> str:
    """Claim for a device until the result is not a conflict, and return the result."""
    certificate = CertificateRecord(f"{number:x}", f"crowd-{number}", NOW, LATER, LATER, LATER)
    asked = Enrollment(
        device_id=DeviceId(f"crowd-{number:04}"),
        group="crowd",
        replaces=False,
        certificate=certificate,
        enrolled_by="f0",
        bootstrap_ids=frozenset({"f1"}),
        anchor=Anchor("a0", "CN=Factory CA"),
        now=NOW,
        grace=timedelta(0),
        way="mtls",
        limits=limits,
    )
    while True:
        try:
            refused = records.claim(asked)
        except Unavailable:  # a conflict, after which a device would repeat its request too
            continue
        return refused.by.value if refused else "claimed"


def test_a_thousand_at_once_never_exceed_a_budget(
    records: DynamoDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its counter spread over shards, a budget admits exactly its total of concurrent claims."""
    monkeypatch.setattr(budget, "_PER_SHARD", 150)
    limits = Limits(total=300, per_minute=DEVICES, freeze_per_hour=DEVICES)
    with ThreadPoolExecutor(10) as crowd:
        outcomes = Counter(crowd.map(lambda number: _outcome(records, number, limits), range(DEVICES)))
    assert outcomes == {"claimed": 300, RefusedBy.TOTAL.value: DEVICES - 300}
    assert records.spent("crowd", limits).total == 300


def test_renewals_at_once_never_exceed_the_day_s_limit(cloud: Cloud) -> None:
    """Of many concurrent renewals of one device in one day, exactly as many claim as the limit allows."""
    # A table of its own, whose stream orders nothing from `register`.
    client(cloud, "dynamodb").create_table(
        TableName="renewing",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    records = DynamoDevices(client(cloud, "dynamodb"), "renewing")
    name, first = DeviceId("crowd-renewing"), _certificate("first")
    device = Device(name, "crowd", Status.ENROLLED, 0, NOW, NOW)
    assert records.import_device(device, replace(first, certificate_id="c0")) is None
    with ThreadPoolExecutor(10) as crowd:
        outcomes = Counter(crowd.map(lambda number: _renewed(records, name, number), range(60)))
    assert outcomes == {None: RENEWALS_PER_DAY, RefusedBy.DEVICE: 60 - RENEWALS_PER_DAY}
    found = records.device(name)
    assert found
    assert (found.renewal_day, found.renewals) == (NOW.date(), RENEWALS_PER_DAY)


def _certificate(name: str) -> CertificateRecord:
    """Return a certificate that holds no other key off, so that any claim may follow it at once."""
    return CertificateRecord(name, f"renewing-{name}", NOW, LATER, LATER, held_until=NOW)


def _renewed(records: DynamoDevices, name: DeviceId, number: int) -> RefusedBy | None:
    """Claim a renewal until the result is not a conflict, and return the result."""
    asked = Renewal(name, "first", _certificate(f"{number}"), NOW, timedelta(0))
    while True:
        try:
            refused = records.claim(asked)
        except Unavailable:
            continue
        # Another renewal was the first of the day, or counted, between the two tries of this one.
        if refused and is_claimable(refused.device, asked):
            continue
        return refused.by if refused else None
