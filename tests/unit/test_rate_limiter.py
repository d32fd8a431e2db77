"""The rate limiter's arithmetic."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain import rate_limiter
from firstboot.domain.clock import from_epoch_milliseconds

NOW = from_epoch_milliseconds(1_795_000_000_000)


@pytest.mark.parametrize(("ahead", "seconds"), [(-5_000, 0), (0, 0), (1_000, 0), (1_001, 2), (900_000, 900)])
def test_a_slot_within_a_second_is_used_now(ahead: int, seconds: int) -> None:
    """A burst of one second passes; a later message comes back, never before its slot."""
    assert rate_limiter.delay_seconds(NOW + timedelta(milliseconds=ahead), NOW) == seconds


def test_sqs_keeps_nothing_back_for_longer_than_it_can() -> None:
    """A slot in hours is waited for in parts; the backlog tells of all of it."""
    slot = NOW + timedelta(hours=2)
    assert rate_limiter.delay_seconds(slot, NOW) == 900
    assert rate_limiter.backlog_seconds(slot, NOW) == 7_200


@given(st.floats(0.1, 1_000))
def test_never_faster_than_the_rate(rate: float) -> None:
    """Slots are whole milliseconds apart, and rounding never makes them closer."""
    milliseconds, rest = divmod(rate_limiter.interval(rate), timedelta(milliseconds=1))
    assert not rest
    assert milliseconds * rate >= 1_000 * (1 - 1e-9)
