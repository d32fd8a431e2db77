"""An attacker with a valid bootstrap certificate floods the service with claims that are refused.

A refused claim writes nothing. Its transaction still holds its rows for a moment, the group's counters among
them, and another device's claim that meets it is cancelled. moto has no such conflicts, so `Table` adds them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from firstboot.aws import clients
from firstboot.aws.dynamodb import budget
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.domain.claim import Enrollment, Limits, RefusedBy, Renewal
from firstboot.domain.clock import from_epoch
from firstboot.domain.device import Anchor, CertificateRecord, Status
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId

NOW = from_epoch(1_800_000_000)
END = NOW + timedelta(days=300)
HOLDING = 0.003
"""Seconds for which a transaction holds its rows."""


class Table:
    """A client of DynamoDB over moto that lets transactions conflict as DynamoDB does.

    A transaction on a row of a transaction in progress is cancelled, and so is an update of such a row
    (Amazon DynamoDB developer guide, "Transactional conflict handling in DynamoDB").
    """

    def __init__(self, holding: float = 0) -> None:
        self.transactions = 0
        self.before_second: Callable[[], object] = lambda: None
        self._client: Any = clients.dynamodb()
        self._holding = holding
        self._busy: set[str] = set()
        self._lock = threading.Lock()
        self._moto = threading.Lock()  # moto's transactions are not safe in several threads

    def process(self, table: str) -> DynamoDevices:
        """Return the device records of a new process that calls through this client."""
        client: Any = self
        return DynamoDevices(client, table)

    def transact_write_items(self, **asked: Any) -> Any:
        """Make a transaction, unless one of its rows is in another."""
        keys = [next(iter(item.values()))["Key"]["pk"]["S"] for item in asked["TransactItems"]]
        self.transactions += 1
        if self.transactions == 2:
            self.before_second()
        with self._held(keys) as conflicting:
            if conflicting:
                codes = ["TransactionConflict" if key in conflicting else "None" for key in keys]
                reasons = [{"Code": code} for code in codes]
                raise _error("TransactionCanceledException", CancellationReasons=reasons)
            time.sleep(self._holding)
            with self._moto:
                return self._client.transact_write_items(**asked)

    def update_item(self, **asked: Any) -> Any:
        """Update a row, unless a transaction holds it."""
        if asked["Key"]["pk"]["S"] in self._busy:
            raise _error("TransactionConflictException")
        with self._moto:
            return self._client.update_item(**asked)

    def get_item(self, **asked: Any) -> Any:
        """Read a row."""
        with self._moto:
            return self._client.get_item(**asked)

    @contextmanager
    def _held(self, keys: list[str]) -> Iterator[set[str]]:
        """Hold the rows `keys` if none is held, otherwise yield those that are."""
        with self._lock:
            conflicting = self._busy & set(keys)
            if not conflicting:
                self._busy |= set(keys)
        try:
            yield conflicting
        finally:
            if not conflicting:
                with self._lock:
                    self._busy -= set(keys)


def _error(code: str, **members: Any) -> ClientError:
    response: Any = {"Error": {"Code": code}, **members}
    return ClientError(response, "TransactWriteItems")


def certificate(name: str) -> CertificateRecord:
    """Return the record of a certificate with a key and a serial of this name."""
    return CertificateRecord(name, f"key-{name}", NOW, END, END, NOW + timedelta(minutes=15))


def enrollment(name: str, **changes: Any) -> Enrollment:
    """Return an enrollment of a device with a bootstrap certificate of its own."""
    base = Enrollment(
        device_id=DeviceId(name),
        group="gateways",
        replaces=False,
        certificate=certificate(name),
        enrolled_by=f"bootstrap-{name}",
        bootstrap_ids=frozenset({"f1"}),
        anchor=Anchor("a0", "CN=Factory CA"),
        now=NOW,
        grace=timedelta(days=90),
        way="mtls",
        limits=Limits(total=1_000, per_minute=1_000, freeze_per_hour=1_000),
    )
    return replace(base, **changes)


def put(key: str, **attributes: int) -> None:
    """Write a row with numbers."""
    item: Any = {"pk": {"S": key}} | {name: {"N": str(value)} for name, value in attributes.items()}
    clients.dynamodb().put_item(TableName="device-records", Item=item)


def fill(asked: Enrollment, by: RefusedBy) -> None:
    """Use up the counter of a claim that refuses with `by`, in each of its shards."""
    (full,) = [each for each in budget.counters(asked) if each.refused_by is by]
    for shard in range(full.shards):
        put(f"{full.name}#{shard}", used=full.limit)


SHARDS = [1, 2, 16]
LIMITING = [RefusedBy.FROZEN, RefusedBy.TOTAL, RefusedBy.THRESHOLD, RefusedBy.RATE]


@pytest.mark.parametrize("shards", SHARDS)
@pytest.mark.parametrize("by", RefusedBy)
def test_a_refusal_costs_two_transactions_at_most(
    table: str, monkeypatch: pytest.MonkeyPatch, by: RefusedBy, shards: int
) -> None:
    """A refused claim costs at most two transactions for each reason, and none when it comes again.

    A threshold that was reached is met again until the group is frozen.
    """
    monkeypatch.setattr(budget, "_PER_SHARD", 1)
    wire = Table()
    limits = Limits(total=shards, per_minute=shards, freeze_per_hour=shards)
    asked = enrollment("gw-1", limits=limits, per_day=1, expected=by is RefusedBy.GUESSES)
    refuse(DynamoDevices(clients.dynamodb(), table), asked, by)
    records = wire.process(table)
    refused = records.claim(asked)
    assert refused
    assert refused.by is by
    assert wire.transactions <= 2
    before = wire.transactions
    # A limit of the group refuses each device, and another reason the same one.
    others = [enrollment(f"gw-{n}", limits=limits) for n in range(2, 6)] if by in LIMITING else [asked] * 4
    assert [getattr(records.claim(other), "by", None) for other in others] == [by] * 4
    assert wire.transactions - before <= (8 if by is RefusedBy.THRESHOLD else 0)


def refuse(records: DynamoDevices, asked: Enrollment, by: RefusedBy) -> None:
    """Write the rows that refuse the claim for this reason."""
    match by:
        case RefusedBy.BOOTSTRAP:
            records.revoke_bootstrap(asked.enrolled_by, NOW)
        case RefusedBy.DEVICE:
            assert records.claim(replace(asked, certificate=certificate("another"))) is None
            records.revoke(asked.device_id, NOW)
            # The counters are free again, so that the record alone refuses.
            for counter in budget.counters(asked):
                for shard in range(counter.shards):
                    put(f"{counter.name}#{shard}")
        case RefusedBy.KEY:
            clients.dynamodb().put_item(
                TableName="device-records",
                Item={"pk": {"S": f"KEY#{asked.certificate.spki}"}, "deviceId": {"S": "gw-9"}},
            )
        case RefusedBy.FROZEN:
            assert asked.limits
            records.freeze(asked.group, asked.limits, NOW)
        case RefusedBy.GUESSES:
            records.expect(asked.group, {asked.device_id: {}}, NOW)
            while records.count_guess(asked.enrolled_by, NOW):
                pass
        case _:
            fill(asked, by)


def test_a_refused_renewal_costs_two_transactions_at_most(table: str) -> None:
    """A renewal beyond the day's limit is refused after two transactions at most."""
    wire = Table()
    records = wire.process(table)
    asked = Renewal(DeviceId("gw-1"), "a1", certificate("gw-1"), NOW, timedelta(days=90))
    refused = records.claim(asked)
    assert refused
    assert refused.by is RefusedBy.DEVICE
    assert wire.transactions <= 2


FLOODS: dict[str, Callable[[int], Enrollment]] = {
    # The device is enrolled, and its group refuses a second certificate.
    "own certificate": lambda n: enrollment("thief", certificate=certificate(f"thief-{n}")),
    # The holder of a claim certificate tries names. The honest devices have the same claim certificate.
    "claim certificate": lambda n: enrollment(f"name-{n}", expected=True, enrolled_by="batch-7"),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_refused_claims_stops_no_honest_device(table: str, flood: str) -> None:
    """During a flood of refused claims, each honest device enrolls at its first or second try."""
    attack, wire = FLOODS[flood], Table(HOLDING)
    asked = [enrollment(f"gw-{n}") for n in range(20)]
    if flood == "claim certificate":
        asked = [replace(each, expected=True, enrolled_by="batch-7") for each in asked]
        wire.process(table).expect("gateways", {each.device_id: {} for each in asked}, NOW)
    else:
        assert wire.process(table).claim(enrollment("thief")) is None
    ended, refused = threading.Event(), Counter[int]()

    def attacker(number: int) -> None:
        process = wire.process(table)
        for attempt in iter(lambda: number if not ended.is_set() else None, None):
            try:
                assert process.claim(attack(refused.total())) is not None
            except Unavailable:
                continue
            refused[attempt] += 1

    with ThreadPoolExecutor(4) as crowd:
        running = [crowd.submit(attacker, number) for number in range(4)]
        try:
            while len(refused) < 4 or refused.total() < 20:
                time.sleep(HOLDING)
            honest = wire.process(table)
            tries = [attempts(honest, each) for each in asked]
        finally:
            ended.set()
    assert [each.result() for each in running] == [None] * 4
    assert max(tries) <= 2


def attempts(records: DynamoDevices, asked: Enrollment, most: int = 100) -> int:
    """Return at which try a device's claim succeeds."""
    for attempt in range(1, most + 1):
        try:
            assert records.claim(asked) is None
        except Unavailable:
            continue
        return attempt
    raise AssertionError(f"{asked.device_id} was cancelled {most} times")


def test_no_part_of_a_limit_is_lost(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that claim at the same time fill each shard of a limit exactly, with conflicts and without.

    No device is refused for good before the limit is reached.
    """
    monkeypatch.setattr(budget, "_PER_SHARD", 3)
    wire, limits = Table(HOLDING / 3), Limits(total=50, per_minute=1_000)
    processes = [wire.process(table) for _ in range(8)]

    def outcome(number: int) -> RefusedBy | None:
        asked = enrollment(f"gw-{number}", limits=limits)
        while True:
            try:
                before = processes[number % 8].claim(asked)
            except Unavailable:
                continue
            return before.by if before else None

    with ThreadPoolExecutor(8) as crowd:
        # As many devices as the limit spread over the shards unevenly, and each of them enrolls.
        assert Counter(crowd.map(outcome, range(50))) == {None: 50}
        assert Counter(crowd.map(outcome, range(50, 80))) == {RefusedBy.TOTAL: 30}
    assert processes[0].spent("gateways", limits).total == 50


def test_a_race_for_the_last_place_is_no_final_refusal(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim whose second shard is filled by another claim in the meantime is told to come again."""
    monkeypatch.setattr(budget, "_PER_SHARD", 1)
    wire, asked = Table(), enrollment("gw-1", limits=Limits(total=2, per_minute=1_000))
    own = budget.own(budget.counters(asked)[0], asked.device_id)
    put(own.key["pk"]["S"], used=own.limit)
    wire.before_second = lambda: fill(asked, RefusedBy.TOTAL)
    with pytest.raises(Unavailable):
        wire.process(table).claim(asked)
    assert wire.transactions == 2


def test_what_frees_a_group_frees_it_at_once(table: str) -> None:
    """A process that remembers a refusal enrolls after a thaw, a higher limit and the end of the minute."""
    records = DynamoDevices(clients.dynamodb(), table)

    def outcome(name: str, limits: Limits, now: datetime = NOW) -> RefusedBy | None:
        refused = records.claim(enrollment(name, limits=limits, now=now))
        return refused.by if refused else None

    one = Limits(total=2, per_minute=1)
    assert [outcome(f"gw-{n}", one) for n in (1, 2, 2)] == [None, RefusedBy.RATE, RefusedBy.RATE]
    later = NOW + timedelta(minutes=1)
    assert [outcome(f"gw-{n}", one, later) for n in (2, 3)] == [None, RefusedBy.TOTAL]
    more = Limits(total=3, per_minute=9)
    assert outcome("gw-3", more, later) is None
    last = Limits(total=9, per_minute=9)
    records.freeze("gateways", last, later)
    assert [outcome("gw-4", last, later) for _ in range(2)] == [RefusedBy.FROZEN] * 2
    records.thaw("gateways", last)
    assert outcome("gw-4", last, later) is None


@pytest.mark.parametrize("by", LIMITING)
def test_a_repeat_is_answered_by_a_process_that_refuses(table: str, by: RefusedBy) -> None:
    """A process that refuses a group's claims still finds the certificate of a device that repeats its own.

    If its bootstrap certificate was revoked in the meantime, it gets none.
    """
    records = DynamoDevices(clients.dynamodb(), table)
    asked, other = enrollment("gw-1"), enrollment("gw-2")
    assert records.claim(asked) is None
    refuse(records, other, by)
    for _ in range(2):
        refused = records.claim(other)
        assert refused
        assert refused.by is by
        repeated = records.claim(asked)
        assert repeated
        assert repeated.by is RefusedBy.DEVICE
        assert repeated.device
        assert repeated.device.pending == asked.certificate
    records.revoke_bootstrap(asked.enrolled_by, NOW)
    revoked = records.claim(asked)
    assert revoked
    assert revoked.by is RefusedBy.BOOTSTRAP
    device = records.device(asked.device_id)
    assert device
    assert device.status is Status.ENROLLED
