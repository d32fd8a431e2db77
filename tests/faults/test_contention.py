"""200 threads whose transactions conflict never exceed a budget, and each device ends with a decision."""

from __future__ import annotations

import pytest
from moto import mock_aws

from firstboot.aws import clients, connections
from firstboot.domain.claim import Limits, RefusedBy
from tests.aws import deployed
from tests.faults.contention import Contended, claim_all

DEVICES = THREADS = 200


def test_two_hundred_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 devices that claim in as many threads, exactly the budget's 100 enroll, and conflicts occur."""
    deployed.prepare(monkeypatch)
    # A busy machine answers 200 threads late. A claim whose answer is not waited for would count as a 503,
    # and its repeat as a refusal.
    monkeypatch.setattr(connections, "TIMEOUT_SECONDS", (60.0, 60.0))
    with mock_aws(config=deployed.MOTO):
        deployed.forget_clients()
        table, wire = deployed.make_table(), Contended()
        monkeypatch.setenv("AWS_ENDPOINT_URL", wire.url)
        limits = Limits(total=100, per_minute=10_000, freeze_per_hour=10_000)
        _, outcomes = claim_all(clients.dynamodb(), table, DEVICES, THREADS, limits)
        wire.close()
    deployed.forget_clients()
    assert outcomes == {"claimed": 100, RefusedBy.TOTAL.value: DEVICES - 100}
    assert wire.conflicts
