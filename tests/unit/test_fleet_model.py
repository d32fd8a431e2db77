"""Test the compiled fleet as JSON, which is deployed, published and hashed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from firstboot.domain.fleet import Fleet, GrantTerms
from firstboot.domain.plans import end_of_day
from tests.unit.fleet_folders import TOML, fleet

BUDGET = "budget = { total = 1, per_minute = 2, until = 2028-01-01 }\n"


def test_json_and_back() -> None:
    """A fleet is the same after conversion to JSON and back, with a budget and without."""
    for toml in (TOML, TOML.replace("[role", BUDGET + "[role")):
        compiled = fleet(toml=toml)
        assert Fleet.from_json(compiled.to_json()) == compiled
        assert Fleet.from_json(compiled.to_json().encode()) == compiled


@pytest.mark.parametrize(("day", "seconds"), [("2028-01-01", 1_830_384_000), ("9999-12-31", 253_402_300_800)])
def test_a_budget_ends_in_epoch_seconds(day: str, seconds: int) -> None:
    """The JSON holds the end of a budget's last day in epoch seconds, even for the calendar's last day."""
    compiled = fleet(toml=TOML.replace("[role", BUDGET.replace("2028-01-01", day) + "[role"))
    assert json.loads(compiled.to_json())["groups"]["gateways"]["budget"]["until"] == seconds
    assert Fleet.from_json(compiled.to_json()) == compiled


@pytest.mark.parametrize("until", [10**30, "2028-01-01", None, float("nan")])
def test_a_budget_without_an_end_is_no_fleet(until: Any) -> None:
    """A fleet in JSON is refused when the end of a budget is not a valid time."""
    plain = json.loads(fleet(toml=TOML.replace("[role", BUDGET + "[role")).to_json())
    plain["groups"]["gateways"]["budget"]["until"] = until
    with pytest.raises((TypeError, ValueError)):
        Fleet.from_json(json.dumps(plain))


def test_a_certificate_is_connectable_once_registered_and_always_in_a_token_group() -> None:
    """Only a registered certificate can connect in a registry group, and any can in a token group."""
    group = fleet().groups["gateways"]
    assert not group.is_connectable("a", frozenset("b"))
    assert group.is_connectable("a", frozenset("ab"))
    assert replace(group, mqtt="token").is_connectable("a", frozenset())


def test_the_hash_is_the_contents() -> None:
    """Equal fleets have equal hashes, and a fleet with any difference has another hash."""
    compiled = fleet()
    assert Fleet.from_json(compiled.to_json()).hash == compiled.hash
    assert replace(compiled, rules="").hash != compiled.hash
    assert replace(compiled, base=compiled.hash).hash != compiled.hash


def test_a_day_ends_with_the_next_one() -> None:
    """A day ends with the first instant of the next one in UTC, and the calendar's last day ends early."""
    assert end_of_day(date(2026, 11, 27)) == datetime(2026, 11, 28, tzinfo=UTC)
    assert end_of_day(date.max) == datetime.max.replace(tzinfo=UTC)


def test_each_member_of_a_fleet_comes_back() -> None:
    """A fleet with a value in each optional member is the same after conversion to JSON and back."""
    full = replace(
        fleet(),
        services=("s3",),
        reserved=("all",),
        terms={"telemetry": GrantTerms("telemetry", shared=True)},
        colon_ids=True,
        base="b",
    )
    assert Fleet.from_json(full.to_json()) == full
    assert (full.shared_grants, full.ids.reserved, full.ids.colons) == (["telemetry"], ("all",), True)
    bare = json.loads(fleet().to_json())
    assert not bare.keys() & {"services", "reserved", "terms", "colon_ids"}


def test_an_unknown_member_is_named() -> None:
    """A fleet in JSON with members that this version does not know is refused, and they are named."""
    plain = json.loads(fleet().to_json()) | {"zeta": 1, "alpha": 2}
    with pytest.raises(ValueError, match=r"^unknown members: alpha, zeta$"):
        Fleet.from_json(json.dumps(plain))


def test_a_group_is_found_by_its_former_name() -> None:
    """A group is found by its name and by its former ones, and a name of no group stands for itself."""
    made = fleet()
    hubs = replace(made.groups["gateways"], name="hubs", formerly=("gateways",))
    renamed = replace(made, groups={"hubs": hubs})
    assert renamed.group_of("hubs") == renamed.group_of("gateways") == hubs
    assert renamed.group_of("pumps") is None
    assert [renamed.current_name(name) for name in ("hubs", "gateways", "pumps")] == ["hubs", "hubs", "pumps"]
