"""The system clock, and conversions between an aware UTC `datetime` and an integer.

Inside the package every instant is a `datetime`, so that the type checker finds a mixture of seconds and
milliseconds. A table row, a queue message, a nonce and the compiled fleet's JSON hold the integer: the
seconds, or the milliseconds, since 1970-01-01T00:00:00Z.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The instant whose integer is 0."""

SKEW = timedelta(seconds=5)
"""By how much the clocks of two processes may differ.

Lambda's hosts are synchronised, as a rule to milliseconds. A value that one process has just made must be
good for another one whose clock is a little behind.
"""

_SECOND = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)


def utc_now() -> datetime:
    """Return the current UTC time.

    No other code reads the system clock. It takes `now` as an argument, so that a test can choose the time.
    """
    return datetime.now(UTC)


def epoch(moment: datetime) -> int:
    """Return the whole seconds since the epoch, rounded down."""
    return (moment - EPOCH) // _SECOND


def from_epoch(seconds: int) -> datetime:
    """Return the instant that many seconds after the epoch.

    Raises ValueError for a number that no datetime can hold.
    """
    return _after(seconds, _SECOND)


def epoch_milliseconds(moment: datetime) -> int:
    """Return the whole milliseconds since the epoch, rounded down."""
    return (moment - EPOCH) // _MILLISECOND


def from_epoch_milliseconds(milliseconds: int) -> datetime:
    """Return the instant that many milliseconds after the epoch.

    Raises ValueError for a number that no datetime can hold.
    """
    return _after(milliseconds, _MILLISECOND)


def whole_seconds(moment: datetime) -> datetime:
    """Return `moment` without its fraction of a second.

    Every instant of a device record must pass through this function. Rows hold whole seconds, and a record
    that is read back must equal the record that was written.
    """
    return moment.replace(microsecond=0)


def until_next(period: timedelta, now: datetime) -> int:
    """Return the seconds until the next full `period` of UTC begins."""
    seconds = int(period.total_seconds())
    return seconds - epoch(now) % seconds


def iso(moment: datetime) -> str:
    """Return an instant in the form that every answer uses: `2026-11-22T10:39:39Z`, without fractions."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _after(count: int, unit: timedelta) -> datetime:
    try:
        return EPOCH + count * unit
    except OverflowError as error:
        raise ValueError(f"no datetime holds {count} times {unit}") from error
