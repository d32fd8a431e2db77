"""Test how `operate` refuses and counts grants that are too large together, and how the console adds up."""

from __future__ import annotations

from dataclasses import replace
from string import ascii_letters
from typing import Any

import pytest

from console import excess as shown
from console import output
from console.cloud import Refused
from firstboot.compiler.errors import FleetInvalid
from firstboot.domain.clock import EPOCH
from firstboot.domain.device import Device
from firstboot.operate import excess
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.policy.sums import Sums
from tests.unit.fleet_folders import OFFICE, device, fleet, large, permit

PLACE = Place("aws", "us-east-1", "123456789012")
BERLIN, PARIS = device(attributes={"site": "berlin"}), device("gateways", {"floor": 1}, device_id="dev-2")
NEW = device(device_id="dev-3")


def sums(*rules: str) -> Sums:
    """Return the sums under these rules about four large grants."""
    made = fleet(grants={name: large(name) for name in "abcd"}, rules="".join(rules))
    return Sums(Rules(made), PLACE)


TWO = sums(permit("a"), permit("b"))
BY_SITE = sums(permit("a"), permit("b"), permit("c", "principal has site"), permit("d", OFFICE))
ALL = sums(*map(permit, "abcd"))


def in_time() -> bool:
    """Say that the time is not over."""
    return False


def counted(before: Sums, after: Sums, devices: list[Device]) -> dict[str, Any]:
    """Return the answer about these devices."""
    count = excess.Count(before, after)
    for each in devices:
        count.add(each)
    return count.answer


def test_certain_known_and_possible_are_counted_apart() -> None:
    """A page's answer counts new, known and possible excesses apart, with examples of each."""
    found = counted(TWO, BY_SITE, [BERLIN, PARIS, NEW])
    assert {kind: each["devices"] for kind, each in found.items()} == {
        "certain": 1,
        "known": 0,
        "possible": 2,
    }
    (example,) = found["certain"]["examples"]
    assert (example["deviceId"], example["roleAlias"]) == ("dev-1", "telemetry")
    assert example["excess"].startswith("role alias telemetry: the grants a, b, c")
    known = counted(BY_SITE, ALL, [BERLIN, PARIS])
    assert {kind: each["devices"] for kind, each in known.items()} == {
        "certain": 1,
        "known": 1,
        "possible": 0,
    }
    many = counted(TWO, ALL, [BERLIN, PARIS, NEW, device(device_id="dev-4")])
    assert (many["certain"]["devices"], len(many["certain"]["examples"])) == (4, 3)


def test_a_new_device_has_the_shortest_id_that_the_fleet_allows() -> None:
    """A fleet is refused for its new devices also if it reserves the ids that such a device could have."""
    rules = [*map(permit, "abcd")]
    made = fleet(grants={name: large(name) for name in "abcd"}, rules="".join(rules))
    for words in (("a",), tuple(ascii_letters), (*ascii_letters, "aa", "ab")):
        after = Sums(Rules(replace(made, reserved=words)), PLACE)
        with pytest.raises(FleetInvalid, match="a new device of group gateways would get too much"):
            excess.check_new_devices(TWO, after, EPOCH, in_time)


def test_an_id_that_is_not_allowed_hides_no_excess() -> None:
    """A device whose id the fleet does not allow has no excess, and others of the same length keep theirs."""
    reserving = Sums(Rules(replace(ALL.fleet, reserved=("dev-1",))), PLACE)
    found = counted(TWO, reserving, [device(device_id="dev-1"), NEW])
    assert (found["certain"]["devices"], found["certain"]["examples"][0]["deviceId"]) == (1, "dev-3")


def test_a_new_excess_is_refused_and_another_is_a_warning() -> None:
    """A change that makes an excess certain is refused; a possible or known one is a warning."""
    with pytest.raises(AttributesInvalid, match="the grants a, b, c"):
        excess.check_sum(BY_SITE, NEW, BERLIN)
    (warning,) = excess.check_sum(BY_SITE, None, NEW)
    assert "may, from some addresses" in warning
    assert len(excess.check_sum(BY_SITE, BERLIN, BERLIN)) == 1
    assert excess.check_sum(TWO, None, BERLIN) == []


def test_a_fleet_may_not_refuse_new_devices() -> None:
    """A fleet whose new devices certainly hold too much is refused, unless the fleet in force is alike."""
    with pytest.raises(FleetInvalid, match="a new device of group gateways would get too much"):
        excess.check_new_devices(BY_SITE, ALL, EPOCH, in_time)
    assert excess.check_new_devices(ALL, ALL, EPOCH, in_time) == []
    assert excess.check_new_devices(TWO, BY_SITE, EPOCH, in_time) == []


def test_the_check_of_new_devices_ends_with_its_time() -> None:
    """The groups that there is no time for are returned, and each group before is checked."""
    gateways = ALL.fleet.groups["gateways"]
    groups = {name: replace(gateways, name=name) for name in ("one", "two", "three")}
    before, after = (Sums(Rules(replace(each.fleet, groups=groups)), PLACE) for each in (TWO, ALL))
    times = iter([False, True])
    assert excess.check_new_devices(before, before, EPOCH, lambda: next(times)) == ["two", "three"]
    times = iter([False, True])
    with pytest.raises(FleetInvalid, match="a new device of group one would get too much"):
        excess.check_new_devices(before, after, EPOCH, lambda: next(times))
    assert excess.check_new_devices(before, after, EPOCH, lambda: True) == ["one", "two", "three"]


def test_the_console_adds_pages_up() -> None:
    """The console adds up pages, keeps three examples, and refuses a certain excess alone."""
    total = shown.none()
    shown.add(total, {})  # the answer of an older version
    shown.check(total)
    assert shown.describe(total) == []
    for _ in range(2):
        shown.add(total, counted(TWO, BY_SITE, [PARIS, NEW]))
    shown.check(total)
    assert (total["possible"]["devices"], len(total["possible"]["examples"])) == (4, 3)
    lines = [line.plain for line in shown.describe(total)]
    assert lines[0].startswith("warning: 4 devices would hold more grants than fit for requests from some")
    assert lines[1].startswith("  dev-2: role alias telemetry: the grants")
    shown.add(total, counted(TWO, BY_SITE, [BERLIN]))
    with pytest.raises(Refused, match=r"1 device would hold more .*nothing was published"):
        shown.check(total)


def test_an_answer_without_warnings_has_none() -> None:
    """An answer of an older version, which has no warnings, is shown without any."""
    assert output.warnings({}) == []
    assert [line.plain for line in output.warnings({"warnings": ["x"]})] == ["warning: x"]
