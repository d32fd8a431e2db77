"""Test the rate limiter's arithmetic: delays, backlog and the interval between slots."""

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
    """A slot less than a second ahead is used at once; before a later one a message waits until the slot."""
    assert rate_limiter.delay_seconds(NOW + timedelta(milliseconds=ahead), NOW) == seconds


def test_a_delay_stays_within_the_limit_of_sqs() -> None:
    """A delay is at most SQS's limit of 900 seconds, and the backlog is the whole time until the slot."""
    slot = NOW + timedelta(hours=2)
    assert rate_limiter.delay_seconds(slot, NOW) == 900
    assert rate_limiter.backlog_seconds(slot, NOW) == 7_200


@given(st.floats(0.1, 1_000))
def test_never_faster_than_the_rate(rate: float) -> None:
    """The interval between slots is in whole milliseconds and never shorter than the rate allows."""
    milliseconds, rest = divmod(rate_limiter.interval(rate), timedelta(milliseconds=1))
    assert not rest
    assert milliseconds * rate >= 1_000 * (1 - 1e-9)
