"""Test the rate limiter's arithmetic: the interval between slots, and how far ahead a priority may go."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain import rate_limiter
from firstboot.domain.rate_limiter import Priority


@given(st.floats(0.1, 1_000), st.sampled_from([0.5, 1]))
def test_never_faster_than_the_rate(rate: float, share: float) -> None:
    """The interval between slots is in whole milliseconds and never shorter than the rate allows."""
    milliseconds, rest = divmod(rate_limiter.interval(rate, share), timedelta(milliseconds=1))
    assert not rest
    assert milliseconds * rate >= 1_000 * share * (1 - 1e-9)


def test_a_higher_priority_may_go_further_ahead() -> None:
    """Each priority may take slots at least two further ahead than the next lower one, revocations any."""
    assert rate_limiter.ahead(Priority.REVOCATION, 7) is None
    changes, registrations, newcomers = (
        rate_limiter.ahead(priority, 10)
        for priority in (Priority.CHANGE, Priority.CERTIFICATE, Priority.JITR)
    )
    assert changes
    assert registrations
    assert newcomers == timedelta()
    assert changes - registrations >= timedelta(milliseconds=200)
    assert registrations >= timedelta(milliseconds=200)
