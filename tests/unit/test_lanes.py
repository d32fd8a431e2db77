"""Test the retry slots: their arithmetic, and what a process hands out of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.clock import EPOCH, from_epoch
from firstboot.domain.errors import Unavailable
from firstboot.domain.lanes import CALLERS, LANES, Lanes
from firstboot.domain.retry_slots import LONGEST_SECONDS, LONGEST_SPREAD, Lane, first_taken

NOW = from_epoch(1_800_000_000)
SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)


class Slots:
    """The lanes' rows in memory. tests/aws/test_retry_slots.py compares it with the table."""

    def __init__(self) -> None:
        self.calls = 0
        self.fails = False
        self.following: dict[Lane, int] = {}

    def take(self, lane: Lane, count: int, opens: datetime, now: datetime) -> int | None:
        """Take slots as the table does."""
        self.calls += 1
        if self.fails:
            raise Unavailable
        first = first_taken(self.following.get(lane), lane.first(opens), lane.last(now))
        if first is not None:
            self.following[lane] = first + count
        return first


@given(st.integers(1, 10**6), st.integers(0, 10**12))
def test_a_slot_is_an_instant(per_minute: int, microseconds: int) -> None:
    """The first slot at or after a moment is not before it, and the slot before is."""
    lane, moment = Lane("a", per_minute), NOW + microseconds * MICROSECOND
    first = lane.first(moment)
    assert lane.instant(first) >= moment
    assert (first - 1) * 60_000_000 < per_minute * ((moment - EPOCH) // MICROSECOND)


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_block_is_small(per_minute: int, used: int) -> None:
    """A block has at most 64 slots, ten seconds, and, beyond eight, a sixteenth of what was used."""
    count = Lane("a", per_minute).block(used)
    assert 1 <= count <= 64
    assert count == 1 or count <= per_minute / 6
    assert count <= max(8, used / 16)


@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5_000), st.booleans()), min_size=1, max_size=200),
)
def test_no_two_callers_share_a_slot(per_minute: int, asked: list[tuple[int, int, bool]]) -> None:
    """Slots are one interval apart, however processes interleave, and none is in a closed time."""
    lane, table, now = Lane("a", per_minute, None), Slots(), NOW
    processes = [Lanes(table) for _ in range(4)]
    handed: list[datetime] = []
    for number, (process, milliseconds, closes) in enumerate(asked):
        now += timedelta(milliseconds=milliseconds)
        known, closed = processes[process], now + SECOND if closes else now
        known.close(lane, closed)
        seconds = known.wait(lane, f"gw-{number}", now)
        at = known._handed.get((lane.name, f"gw-{number}"))
        assert at
        assert at >= closed
        # Rounded up to whole seconds, and at least 1.
        assert seconds == max(1, -((now - at) // SECOND))
        handed.append(at)
    gap = timedelta(minutes=1) / per_minute
    ordered = sorted(handed)
    assert all(b - a >= gap - MICROSECOND for a, b in pairwise(ordered))


def test_a_storm_needs_few_calls_and_loses_few_slots() -> None:
    """Of 20 processes that refuse 2,000 callers each, one refusal in 25 makes a call at most."""
    lane, table = Lane("a", 60_000), Slots()
    processes = [Lanes(table) for _ in range(20)]
    for number in range(2_000):
        for index, process in enumerate(processes):
            assert process.wait(lane, f"gw-{index}-{number}", NOW)
    assert table.calls <= 40_000 / 25
    assert table.following[lane] - lane.first(NOW) <= 40_000 * 1.04


def test_a_caller_that_asks_again_moves_nothing() -> None:
    """One caller that asks 5,000 times gets one slot, and the next caller the one after it."""
    lane, table = Lane("a", 60), Slots()
    process = Lanes(table)
    assert {process.wait(lane, "thief", NOW) for _ in range(5_000)} == {1}
    process.close(lane, NOW + 10 * SECOND)
    assert {process.wait(lane, "thief", NOW + SECOND) for _ in range(5_000)} == {9}
    assert process.wait(lane, "gw-1", NOW + SECOND) == 10
    assert table.calls <= 3


def test_no_slot_is_more_than_an_hour_ahead() -> None:
    """A full lane is asked once in five seconds. Its callers come again in the hour's last minutes."""
    lane, table = Lane("a", 1), Slots()
    process = Lanes(table)
    given_out = [process.wait(lane, f"gw-{number}", NOW) for number in range(61)]
    assert given_out[-1] == LONGEST_SECONDS
    calls = table.calls
    waits = {process.wait(lane, f"late-{number}", NOW) or 0 for number in range(2_000)}
    assert table.calls == calls + 1
    assert min(waits) > LONGEST_SECONDS - LONGEST_SPREAD
    assert max(waits) <= LONGEST_SECONDS
    assert len(waits) > LONGEST_SPREAD / 2
    # A slot is free again after its interval.
    assert process.wait(lane, "late-1", NOW + timedelta(minutes=1)) == LONGEST_SECONDS


def test_without_the_table_there_is_no_slot() -> None:
    """While the table does not answer there is no slot, and it is asked once in five seconds."""
    lane, table = Lane("a", 60), Slots()
    process = Lanes(table)
    table.fails = True
    assert {process.wait(lane, f"gw-{number}", NOW) for number in range(100)} == {None}
    assert table.calls == 1
    table.fails = False
    assert process.wait(lane, "gw-1", NOW + 5 * SECOND) == 1


@pytest.mark.parametrize("probes", [True, False])
def test_a_closed_lane(*, probes: bool) -> None:
    """A lane is closed until the moment that is known, and lets a request a second pass if it may."""
    lane, process = Lane("a", 60), Lanes(Slots())
    assert not process.is_closed(lane, NOW, probes=probes)
    process.close(lane, NOW + 2 * SECOND)
    passing = []
    for number in range(9):
        moment = NOW + timedelta(milliseconds=250 * number)
        if not process.is_closed(lane, moment, probes=probes):
            process.passed(lane, moment)
            passing.append(number)
    assert passing == ([0, 4, 8] if probes else [8])
    assert not process.is_closed(Lane("b", 60), NOW, probes=probes)


def test_a_probe_is_due_until_a_request_passes() -> None:
    """A request that fails for another reason, and so does not pass, leaves the probe to the next one."""
    lane, process = Lane("a", 60), Lanes(Slots())
    process.close(lane, NOW + 2 * SECOND)
    assert [process.is_closed(lane, NOW, probes=True) for _ in range(3)] == [False] * 3
    process.passed(lane, NOW)
    assert process.is_closed(lane, NOW, probes=True)


def test_a_request_that_passes_an_open_lane_delays_no_probe() -> None:
    """The first probe of a lane that closes is due at once, although requests have passed just before."""
    lane, process = Lane("a", 60), Lanes(Slots())
    process.close(lane, NOW)
    process.passed(lane, NOW)
    process.close(lane, NOW + 2 * SECOND)
    assert not process.is_closed(lane, NOW, probes=True)


def test_all_lanes_are_open_until_one_closes() -> None:
    """A process knows that no lane is closed before the first one closes, and after the last one opened."""
    process = Lanes(Slots())
    assert process.all_open(NOW)
    process.close(Lane("a", 60), NOW + 2 * SECOND)
    process.close(Lane("b", 60), NOW + SECOND)
    assert [process.all_open(NOW + number * SECOND) for number in range(3)] == [False, False, True]


def test_what_is_remembered_is_bounded() -> None:
    """A process forgets the oldest lanes and callers."""
    process = Lanes(Slots())
    for number in range(CALLERS + 100):
        process.wait(Lane(f"lane-{number % 100}", 6_000), f"gw-{number}", NOW)
    assert len(process._handed) == CALLERS
    assert len(process._known) == LANES
