"""The pauses between the events of a certificate that waits for activation."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.jitr import Attempts, after, pause
from firstboot.domain.rate_limiter import interval
from firstboot.register.slots import JITR_SHARE

START = datetime(2026, 11, 27, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RATE = 7
"""The default of `iotRate`."""


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60), (10**9, 60)]
)
def test_a_pause_doubles_up_to_an_hour(attempts: int, minutes: int) -> None:
    """The pause after the first attempt is a minute, doubles with each attempt, and ends at an hour."""
    assert pause(attempts) == timedelta(minutes=minutes)


def test_a_later_event_passes_when_its_time_has_come() -> None:
    """An event comes too soon until `next_at`, and passes from then on."""
    first = after(None, "first", START)
    assert first == Attempts("first", 1, START + MINUTE)
    assert after(first, "second", START + MINUTE - timedelta(microseconds=1)) is None
    assert after(first, "second", START + MINUTE) == Attempts("second", 2, START + 3 * MINUTE)


def test_the_message_that_passed_passes_again() -> None:
    """A message whose handling failed passes again before `next_at`, and changes nothing."""
    first = after(None, "first", START)
    assert after(first, "first", START + timedelta(seconds=1)) is first


def test_attempts_begin_anew_after_a_day() -> None:
    """A day after `next_at` an event passes as a first one, even if DynamoDB has not deleted the row."""
    known = Attempts("m", 7, START)
    last = START + timedelta(days=1)
    assert after(known, "n", last - timedelta(seconds=1)) == Attempts(
        "n", 8, last - timedelta(seconds=1) + HOUR
    )
    assert after(known, "n", last) == Attempts("n", 1, last + MINUTE)


@given(st.lists(st.integers(0, 7_200_000), max_size=200))
def test_some_event_passes_in_each_hour_of_events(moments: list[int]) -> None:
    """No event passes before the pause is over, and no certificate's events are refused for over an hour."""
    known: Attempts | None = None
    for index, moment in enumerate(sorted(moments)):
        now = START + timedelta(milliseconds=moment)
        passed = after(known, str(index), now)
        if known:
            assert (passed is None) == (now < known.next_at)
            assert known.next_at - now <= HOUR
        known = passed or known


def test_one_certificate_that_connects_all_the_time_takes_a_handful_of_slots() -> None:
    """Of eight events a second for an hour, six pass."""
    known: Attempts | None = None
    passed = 0
    for event in range(8 * 3_600):
        attempts = after(known, str(event), START + timedelta(seconds=event / 8))
        known, passed = attempts or known, passed + (attempts is not None)
    assert passed == 6


def test_ten_thousand_devices_that_are_never_admitted_leave_no_growing_backlog() -> None:
    """If 10,000 devices connect each minute and none is admitted, all are decided on within an hour.

    From then on an event of each device passes once an hour, which are decided on within 20 minutes.
    """
    devices, minutes = 10_000, 180
    a_minute = int(MINUTE / interval(RATE, JITR_SHARE))
    known: dict[int, Attempts] = {}
    decided: dict[int, datetime] = {}
    waiting: deque[tuple[int, datetime]] = deque()
    backlog = []
    for minute in range(minutes):
        now = START + minute * MINUTE
        for device in range(devices):
            passed = after(known.get(device), str(minute), now)
            if passed:
                known[device] = passed
                waiting.append((device, now))
        slots = a_minute
        while waiting and slots:
            device, since = waiting.popleft()
            # An event that passed before the last decision takes no turn.
            if since >= decided.get(device, START - MINUTE):
                decided[device] = now + MINUTE
                slots -= 1
        backlog.append(len(waiting))
    assert set(backlog[55:63]) == {0}
    # Their pauses are equal here, so their events pass in the same minute: 63, 123.
    assert max(backlog[63:]) < devices
    assert set(backlog[83:123]) == set(backlog[143:]) == {0}
