"""The token bucket's arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain import rate_limiter as pace

NOW = 1_795_000_000_000


@pytest.mark.parametrize(("ahead", "seconds"), [(-5_000, 0), (0, 0), (1_000, 0), (1_001, 2), (900_000, 900)])
def test_a_slot_within_a_second_is_used_now(ahead: int, seconds: int) -> None:
    """A burst of a second passes; whoever is further away comes back, never before its slot."""
    assert pace.delay(NOW + ahead, NOW) == seconds


def test_sqs_keeps_nothing_back_for_longer_than_it_can() -> None:
    """A slot in hours is waited for in parts; the backlog tells of all of it."""
    assert pace.delay(NOW + 7_200_000, NOW) == 900
    assert pace.backlog(NOW + 7_200_000, NOW) == 7_200


@given(st.floats(0.1, 1_000))
def test_never_faster_than_the_rate(rate: float) -> None:
    """Slots are whole milliseconds apart, and rounding never makes them closer."""
    assert pace.interval(rate) * rate >= 1_000 * (1 - 1e-9)
