"""The console's words: no control characters of a device, and days as fleet.toml has them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from console import describe
from firstboot.compiler.kinds import LastDay

DEVICE: dict[str, Any] = {
    "deviceId": "gw-1",
    "group": "gateways",
    "status": "enrolled",
    "active": None,
    "attributes": {},
}


@pytest.mark.parametrize("claims", [{"\x1b[2J": "x"}, {"model": "\x1b[2J\u202e"}], ids=["name", "value"])
def test_a_control_character_is_shown_as_an_escape(claims: dict[str, str]) -> None:
    """Names and values of a device's claims cannot control the operator's terminal."""
    text = " ".join(describe.device(DEVICE | {"claims": claims}))
    assert text.isprintable()
    assert text.isascii()


@pytest.mark.parametrize("day", [date(2036, 12, 31), date(2028, 2, 29), date.max])
def test_the_last_day_is_the_one_of_the_fleet_definition(day: date) -> None:
    """`until` is shown as the day that fleet.toml has."""
    assert describe.last_day(LastDay().parse(day)) == day.isoformat()


def test_the_last_day_is_a_day_of_utc() -> None:
    """A time with another offset is converted to UTC first."""
    until = datetime.fromisoformat("2037-01-01T09:00:00+09:00")
    assert describe.last_day(until) == describe.last_day(datetime(2037, 1, 1, tzinfo=UTC)) == "2036-12-31"
