"""A group's budget under concurrent claims: DynamoDB's transactions over sockets, from many threads."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from firstboot.aws.dynamodb import budget
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.domain.claim import Enrollment, Limits, RefusedBy
from firstboot.domain.clock import from_epoch
from firstboot.domain.device import Anchor, CertificateRecord
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
        claims={},
        now=NOW,
        grace=timedelta(0),
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
