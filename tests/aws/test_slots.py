"""Workers of all priorities share AWS IoT's rate over the real row, on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from firstboot.aws import clients
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.domain.clock import from_epoch
from firstboot.domain.rate_limiter import Priority
from firstboot.register.slots import PATIENCE, Slots
from tests.aws.workers import World

START = from_epoch(1_795_000_000)
RATE = 7
GAP = timedelta(milliseconds=143)


@dataclass
class Fleet:
    """Workers of `register`, and the times at which each priority was given its turns."""

    world: World
    slots: Slots
    given: list[tuple[datetime, Priority]] = field(default_factory=list)

    def storm(self, priority: Priority, workers: int, seconds: float = 1, share: float = 1) -> None:
        """Start workers that always have an order, each of which takes some seconds of work."""

        def work() -> None:
            while True:
                self.order(priority, share)
                self.world.pause(seconds)

        for _ in range(workers):
            self.world.start(work)

    def order(self, priority: Priority, share: float = 1) -> None:
        """Take the turn of one order."""
        self.slots.of(priority, share)()
        self.given.append((self.world.now(), priority))

    def count(self, priority: Priority, since: datetime = START) -> int:
        """Return how many turns a priority was given."""
        return sum(1 for at, each in self.given if each is priority and at >= since)


@pytest.fixture
def fleet(table: str) -> Fleet:
    """Return a fleet without workers."""
    world = World(START)
    limiter = DynamoRateLimiter(clients.dynamodb(), table)
    return Fleet(world, Slots(limiter, RATE, world.now, world.pause))


def test_no_turn_comes_earlier_than_the_rate_allows(fleet: Fleet) -> None:
    """The turns of all priorities together are a slot apart, and a storm uses nearly every slot."""
    for priority, workers in ((Priority.CERTIFICATE, 10), (Priority.JITR, 2), (Priority.CHANGE, 5)):
        fleet.storm(priority, workers)
    fleet.world.run(20)
    times = [at for at, _ in fleet.given]
    assert times == sorted(times)
    assert min(later - earlier for earlier, later in pairwise(times)) >= GAP
    assert len(times) >= 0.9 * 20 * RATE


def test_a_revocation_does_not_wait_behind_a_storm(fleet: Fleet) -> None:
    """A revocation gets its turn within two seconds, however many registrations wait."""
    fleet.storm(Priority.CERTIFICATE, 10)
    fleet.storm(Priority.CHANGE, 5)
    for second in range(1, 20, 3):
        asked = START + timedelta(seconds=second)
        fleet.world.start(lambda: fleet.order(Priority.REVOCATION), asked)
        fleet.world.run((asked + timedelta(seconds=2) - fleet.world.now()).total_seconds())
        assert fleet.count(Priority.REVOCATION, asked) == 1


@pytest.mark.parametrize(
    ("high", "low"),
    [
        (Priority.REVOCATION, Priority.CHANGE),
        (Priority.CHANGE, Priority.CERTIFICATE),
        (Priority.CERTIFICATE, Priority.JITR),
    ],
)
def test_a_lower_priority_gets_what_a_higher_one_leaves(fleet: Fleet, high: Priority, low: Priority) -> None:
    """Behind a storm of a higher priority, a lower one gets no turn before its patience ends."""
    fleet.storm(high, 10, seconds=0.5)
    fleet.storm(low, 2)
    fleet.world.run(PATIENCE.total_seconds() - 1)
    assert fleet.count(low) <= 2  # both began at the same moment as the storm
    fleet.world.run(PATIENCE.total_seconds())
    assert 2 <= fleet.count(low) <= 6


def test_what_a_higher_priority_leaves_is_used(fleet: Fleet) -> None:
    """If changes need half of the rate, registrations get the other half."""
    fleet.storm(Priority.CHANGE, 3, seconds=0.8)
    fleet.storm(Priority.CERTIFICATE, 10)
    fleet.world.run(20)
    assert fleet.count(Priority.CHANGE) >= 3 * 20 / (0.8 + 1)
    assert fleet.count(Priority.CHANGE) + fleet.count(Priority.CERTIFICATE) >= 0.9 * 20 * RATE


def test_an_order_of_many_certificates_lets_others_between(fleet: Fleet) -> None:
    """An order takes its turns one by one, so that a revocation comes between those of a long history."""
    told: list[bool] = []

    def history() -> None:
        take_slot = fleet.slots.of(Priority.CHANGE)
        while take_slot.in_time():
            take_slot()
            told.append(True)

    fleet.world.start(history)
    fleet.world.start(lambda: fleet.order(Priority.REVOCATION), START + timedelta(seconds=5))
    fleet.world.run(7)
    assert fleet.count(Priority.REVOCATION) == 1
    fleet.world.run(60)
    assert 0.9 * PATIENCE.total_seconds() * RATE <= len(told) <= PATIENCE.total_seconds() * RATE + 2


def test_an_idle_limiter_gives_the_turn_at_once(fleet: Fleet) -> None:
    """Without a storm every priority gets its turn at the moment it asks."""
    waits: list[float] = []

    def asking(priority: Priority) -> Callable[[], None]:
        def ask() -> None:
            asked = fleet.world.now()
            fleet.order(priority)
            waits.append((fleet.world.now() - asked).total_seconds())

        return ask

    for number, priority in enumerate(Priority):
        fleet.world.start(asking(priority), START + timedelta(seconds=number))
    fleet.world.run(10)
    assert waits == [0, 0, 0, 0]
