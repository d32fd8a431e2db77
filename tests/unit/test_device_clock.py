"""The reference clients leave the machine's clock alone, so `time` in an answer never takes it back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DEVICE = Path(__file__).parents[2] / "device"
SETTING = re.compile(
    r"clock_settime|settimeofday|adjtime|\bdate\s+(-s|--set|-u\s+-s)|hwclock|timedatectl|ntpdate"
)


@pytest.mark.parametrize(
    "file", sorted([*DEVICE.glob("*.py"), DEVICE / "firstboot.sh"]), ids=lambda file: file.name
)
def test_no_client_sets_the_clock(file: Path) -> None:
    """No client calls a function or a program that sets the clock. docs/devices.md says when firmware may."""
    assert not SETTING.search(file.read_text())


def test_a_setting_of_the_clock_is_noticed() -> None:
    """The pattern finds the usual ways to set a clock."""
    for text in ("time.clock_settime(0, now)", 'date -s "@$time"', "date -u -s x", "timedatectl set-time x"):
        assert SETTING.search(text)
