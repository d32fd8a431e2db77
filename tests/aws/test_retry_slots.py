"""The lanes' rows over moto: the adapter gives out the slots that the model in tests/unit does, each once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstboot.aws import clients
from firstboot.aws.dynamodb.retry_slots import DynamoRetrySlots
from firstboot.domain.clock import from_epoch
from firstboot.domain.errors import Unavailable
from firstboot.domain.retry_slots import Lane
from tests.unit.test_lanes import Slots

NOW = from_epoch(1_800_000_000)
SECOND = timedelta(seconds=1)
LANES = [Lane("a", 60), Lane("a", 6_000), Lane("b", 60, longest=None), Lane("c", 1)]


def rows(table: str) -> list[dict[str, Any]]:
    """Return the lanes' rows."""
    found = clients.dynamodb().scan(TableName=table)["Items"]
    return [dict(row) for row in found if row["pk"]["S"].startswith("RETRY#")]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(LANES), st.integers(1, 64), st.integers(0, 90), st.integers(0, 60)),
        max_size=12,
    )
)
def test_the_table_is_the_model(table: str, asked: list[tuple[Lane, int, int, int]]) -> None:
    """For any requests the table gives out the slots that the model in memory does."""
    for row in rows(table):
        clients.dynamodb().delete_item(TableName=table, Key={"pk": row["pk"]})
    adapter, model, now = DynamoRetrySlots(clients.dynamodb(), table), Slots(), NOW
    for lane, count, passed, closed in asked:
        now += passed * SECOND
        opens = now + closed * SECOND
        assert adapter.take(lane, count, opens, now) == model.take(lane, count, opens, now)


def test_processes_take_each_slot_once(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that take blocks at the same time get blocks that do not overlap and leave no gap."""
    lane, one_at_a_time, update = Lane("a", 6_000), threading.Lock(), clients.dynamodb().update_item

    def locked(**asked: Any) -> Any:
        with one_at_a_time:  # moto's conditions are not safe in several threads
            return update(**asked)

    monkeypatch.setattr(clients.dynamodb(), "update_item", locked)
    adapter = DynamoRetrySlots(clients.dynamodb(), table)
    with ThreadPoolExecutor(4) as crowd:
        taken = list(crowd.map(lambda _: adapter.take(lane, 8, NOW, NOW), range(40)))
    assert sorted(taken, key=str) == sorted((lane.first(NOW) + 8 * n for n in range(40)), key=str)


def test_a_lane_is_one_row_that_ends(table: str) -> None:
    """A lane has one row for its rate, which ends a day after its last slot."""
    DynamoRetrySlots(clients.dynamodb(), table).take(Lane("issuing", 60), 8, NOW, NOW)
    (row,) = rows(table)
    assert row["pk"] == {"S": "RETRY#60#issuing"}
    assert row["expiresAt"] == {"N": str(1_800_000_000 + 3_600 + 86_400)}


@pytest.mark.parametrize(
    ("code", "count"), [("ConditionalCheckFailedException", 6), ("ThrottlingException", 1)]
)
def test_a_row_that_keeps_moving_is_no_slot(
    table: str, monkeypatch: pytest.MonkeyPatch, code: str, count: int
) -> None:
    """After three rounds in which other processes moved the row, and after a failure, there is no slot."""
    calls: list[str] = []

    def refuse(**asked: Any) -> None:
        calls.append(asked["ConditionExpression"])
        raise ClientError({"Error": {"Code": code, "Message": ""}}, "UpdateItem")

    adapter = DynamoRetrySlots(clients.dynamodb(), table)
    monkeypatch.setattr(clients.dynamodb(), "update_item", refuse)
    with pytest.raises(Unavailable):
        adapter.take(Lane("a", 60), 8, NOW, NOW)
    assert len(calls) == count
