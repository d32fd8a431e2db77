"""Instants to integers and back, at the edge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain import clock

_moments = st.datetimes(timezones=st.just(UTC))


@given(_moments)
def test_seconds_and_back(moment: datetime) -> None:
    """An instant of whole seconds comes back as it was; any other without its fraction."""
    assert clock.from_epoch(clock.epoch(moment)) == clock.whole_seconds(moment)
    assert clock.epoch(moment) == clock.epoch(clock.whole_seconds(moment))


@given(_moments)
def test_milliseconds_and_back(moment: datetime) -> None:
    """Less than a millisecond is lost, and nothing of an instant of whole milliseconds."""
    back = clock.from_epoch_milliseconds(clock.epoch_milliseconds(moment))
    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)
    assert clock.from_epoch_milliseconds(clock.epoch_milliseconds(back)) == back


@pytest.mark.parametrize("number", [10**30, -(10**30), 253_402_300_800])
def test_what_no_datetime_holds_is_refused(number: int) -> None:
    """By ValueError, which every reader of outside numbers expects."""
    with pytest.raises(ValueError, match="no datetime holds"):
        clock.from_epoch(number)
    with pytest.raises(ValueError, match="no datetime holds"):
        clock.from_epoch_milliseconds(number * 1_000)


def test_iso() -> None:
    """The form of every answer; a fraction of a second is left out."""
    assert clock.iso(datetime(2026, 11, 22, 10, 39, 39, 999_999, UTC)) == "2026-11-22T10:39:39Z"
