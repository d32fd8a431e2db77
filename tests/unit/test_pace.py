"""The token bucket's arithmetic."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain import rate_limiter as pace
from firstboot.domain.clock import from_epoch_milliseconds

NOW = from_epoch_milliseconds(1_795_000_000_000)


@pytest.mark.parametrize(("ahead", "seconds"), [(-5_000, 0), (0, 0), (1_000, 0), (1_001, 2), (900_000, 900)])
def test_a_slot_within_a_second_is_used_now(ahead: int, seconds: int) -> None:
    """A burst of a second passes; whoever is further away comes back, never before its slot."""
    assert pace.delay_seconds(NOW + timedelta(milliseconds=ahead), NOW) == seconds


def test_sqs_keeps_nothing_back_for_longer_than_it_can() -> None:
    """A slot in hours is waited for in parts; the backlog tells of all of it."""
    slot = NOW + timedelta(hours=2)
    assert pace.delay_seconds(slot, NOW) == 900
    assert pace.backlog_seconds(slot, NOW) == 7_200


@given(st.floats(0.1, 1_000))
def test_never_faster_than_the_rate(rate: float) -> None:
    """Slots are whole milliseconds apart, and rounding never makes them closer."""
    milliseconds, rest = divmod(pace.interval(rate), timedelta(milliseconds=1))
    assert not rest
    assert milliseconds * rate >= 1_000 * (1 - 1e-9)
