"""Test the conversion between datetimes and the integers that are stored and sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain import clock

_moments = st.datetimes(timezones=st.just(UTC))


@given(_moments)
def test_seconds_and_back(moment: datetime) -> None:
    """Conversion to epoch seconds and back keeps a moment and drops its fraction of a second."""
    assert clock.from_epoch(clock.epoch(moment)) == clock.whole_seconds(moment)
    assert clock.epoch(moment) == clock.epoch(clock.whole_seconds(moment))


@given(_moments)
def test_milliseconds_and_back(moment: datetime) -> None:
    """Conversion to epoch milliseconds and back loses less than a millisecond."""
    back = clock.from_epoch_milliseconds(clock.epoch_milliseconds(moment))
    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)
    assert clock.from_epoch_milliseconds(clock.epoch_milliseconds(back)) == back


@pytest.mark.parametrize("number", [10**30, -(10**30), 253_402_300_800])
def test_what_no_datetime_holds_is_refused(number: int) -> None:
    """A number outside datetime's range raises ValueError, which readers of outside numbers expect."""
    with pytest.raises(ValueError, match="no datetime holds"):
        clock.from_epoch(number)
    with pytest.raises(ValueError, match="no datetime holds"):
        clock.from_epoch_milliseconds(number * 1_000)


def test_iso() -> None:
    """Every answer has times in this ISO form, without a fraction of a second."""
    assert clock.iso(datetime(2026, 11, 22, 10, 39, 39, 999_999, UTC)) == "2026-11-22T10:39:39Z"
