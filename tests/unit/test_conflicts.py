"""A transaction that conflicts with another write is tried again a few times, and a decided one is not."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from firstboot.aws.dynamodb import table
from firstboot.aws.dynamodb.table import DynamoTable
from firstboot.domain.errors import Unavailable

CONFLICT, FAILED, THROTTLED = "TransactionConflict", "ConditionalCheckFailed", "ThrottlingError"
ATTEMPTS = 5


class Client:
    """A client of DynamoDB whose transactions are cancelled for these reasons, one list for each call."""

    def __init__(self, *cancelled: list[str]) -> None:
        self.cancelled = list(cancelled)
        self.calls = 0

    def transact_write_items(self, **_: Any) -> None:
        """Make a transaction."""
        self.calls += 1
        if self.cancelled:
            error: Any = {"Error": {"Code": "TransactionCanceledException", "Message": ""}}
            error["CancellationReasons"] = [{"Code": code} for code in self.cancelled.pop(0)]
            raise ClientError(error, "TransactWriteItems")

    def update_item(self, **_: Any) -> None:
        """Update a row."""
        self.calls += 1
        if self.cancelled:
            self.cancelled.pop(0)
            raise ClientError(
                {"Error": {"Code": "TransactionConflictException", "Message": ""}}, "UpdateItem"
            )


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses between two attempts, which take no time."""
    made: list[float] = []
    monkeypatch.setattr(table, "sleep", made.append)
    return made


def _table(client: Client) -> DynamoTable:
    made: Any = client
    return DynamoTable(made, "records")


def test_a_conflict_is_tried_again(pauses: list[float]) -> None:
    """A transaction that only conflicts cancelled is made again after a pause, and then holds."""
    client = Client(["None", CONFLICT], [CONFLICT, CONFLICT])
    _table(client)._transact([{}, {}])
    assert (client.calls, len(pauses)) == (3, 2)


def test_conflicts_end(pauses: list[float]) -> None:
    """After the last attempt the conflict is raised, and all pauses together are a fraction of a second."""
    client = Client(*[["None", CONFLICT]] * 10)
    with pytest.raises(ClientError):
        _table(client)._transact([{}, {}])
    assert client.calls == ATTEMPTS
    assert all(0 <= pause <= 0.01 * 2**index for index, pause in enumerate(pauses))
    assert len(pauses) == ATTEMPTS - 1


@pytest.mark.parametrize("codes", [[FAILED, "None"], [FAILED, CONFLICT], [THROTTLED, "None"], []])
def test_a_decision_is_not_tried_again(pauses: list[float], codes: list[str]) -> None:
    """A transaction that a condition or a throttle cancelled is not repeated, also beside a conflict."""
    client = Client(codes, codes)
    with pytest.raises(ClientError):
        _table(client)._transact([{}, {}])
    assert (client.calls, pauses) == (1, [])


def test_an_update_waits_too(pauses: list[float]) -> None:
    """An update of a row that a claim holds is made again after a pause, and Unavailable at the end."""
    update: dict[str, Any] = {"Key": {"pk": {"S": "BUDGET#crowd#0"}}}
    client = Client(["x"], ["x"])
    assert _table(client)._update_busy(update)
    assert (client.calls, len(pauses)) == (3, 2)
    with pytest.raises(Unavailable):
        _table(Client(*[["x"]] * 10))._update_busy(update)
