"""A changed fleet's reach names the ways that close, with the devices that enrolled by them."""

from __future__ import annotations

from dataclasses import replace

from console import reach
from firstboot.domain.ways import Way
from tests import factories
from tests.fleets import fleet, group

GROUP = group("gateways", factories.authority())
WAYS = {
    "gateways": {"mtls": 4, "dps": 2, "unlisted": 9},
    "boxes": {"dps": 3},
    "sensors": {"dps": 100},
}


def closed(before: tuple[Way, ...], after: tuple[Way, ...]) -> list[reach.Reach]:
    """Return the reach of a fleet whose group `gateways`, once called `boxes`, has other ways."""
    old, new = (fleet(replace(GROUP, ways=ways, formerly=("boxes",))) for ways in (before, after))
    found = reach.between(old, new, reach.Counted({}, {}, WAYS))
    return [each for each in found if each.change.startswith("way ")]


def test_a_closed_way_has_the_devices_of_its_group() -> None:
    """Devices count that enrolled by the closed way in the group, under any of its names, and no others."""
    (found,) = closed(("dps", "proof"), ("proof", "mqtt"))
    assert found.devices == 5
    assert found.change == (
        "way dps closes for group gateways. Devices that enrolled by it stay, and renew and get credentials "
        "by proof, mqtt only"
    )


def test_a_way_that_stays_or_opens_is_no_line() -> None:
    """A group that keeps its ways, or gets more, closes none."""
    assert closed(("mtls", "dps"), ("dps", "mtls", "est")) == []
