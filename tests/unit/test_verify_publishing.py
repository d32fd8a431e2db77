"""The grant that the walk publishes for a while compiles, grows the policy, and leaves nothing behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from console.cloud import Operate
from firstboot.compiler import fleet as compiler
from firstboot.domain.fleet import Fleet
from firstboot.operate import requests
from verify import __main__ as main
from verify import publishing
from verify.step import Need
from verify.steps import growing

_FOLDER = Path(__file__).parents[2] / "fleet"
_DEPLOYED = compiler.load(_FOLDER)


class Published:
    """An `operate` that publishes each fleet that compiles."""

    def __init__(self, in_force: Fleet) -> None:
        self.in_force = in_force

    def fleets(self) -> Any:
        """Return the deployed fleet and the one in force."""
        return SimpleNamespace(deployed=_DEPLOYED, in_force=self.in_force, mark=self.in_force.hash)

    def call(self, operation: str, *, fleet: dict[str, Any], inForce: str) -> None:  # noqa: N803 - the wire's
        """Publish a fleet over the one that is in force."""
        assert (operation, inForce) == ("fleet.apply", self.in_force.hash)
        found = requests.fleet(fleet)
        assert found.base == _DEPLOYED.hash
        compiler.check(found)
        self.in_force = found


@pytest.mark.parametrize("characters", [60, 1_800])
def test_the_grant_compiles_and_goes_again(characters: int) -> None:
    """The fleet with the grant passes every check, and without it the fleet is as before."""
    operate, names = Published(_DEPLOYED), publishing.resources("aws", characters)
    assert characters - 60 < len(json.dumps(names, separators=(",", ":"))) <= characters + 2
    grown = publishing.with_grant(_DEPLOYED, "gateways", "telemetry", names)
    publishing.publish(cast("Operate", operate), grown)
    assert len(operate.in_force.grants[publishing.GRANT]["Statement"][0]["Resource"]) == len(names)
    publishing.publish(cast("Operate", operate), publishing.without_grant(operate.in_force))
    assert replace(operate.in_force, base=None) == _DEPLOYED


def test_a_second_grant_takes_the_place_of_the_first() -> None:
    """A fleet that has the grant already gets another one instead, and no second rule."""
    once = publishing.with_grant(_DEPLOYED, "gateways", "telemetry", ["arn:aws:s3:::a/*"])
    twice = publishing.with_grant(once, "gateways", "telemetry", ["arn:aws:s3:::b/*"])
    assert twice.rules == once.rules
    assert publishing.without_grant(twice) == _DEPLOYED


def test_a_grant_that_a_killed_walk_left_is_taken_back() -> None:
    """A walk that finds the grant of an earlier one in force publishes the fleet without it first."""
    operate = Published(
        replace(publishing.with_grant(_DEPLOYED, "gateways", "telemetry", ["arn:aws:s3:::a/*"]), base="b")
    )
    bench = SimpleNamespace(fleet=operate.in_force, operate=operate)
    main._take_back(cast("Any", bench))
    assert replace(operate.in_force, base=None) == _DEPLOYED
    assert publishing.GRANT not in bench.fleet.grants


@pytest.mark.parametrize(("missing", "seconds"), [(set(), 62.0), ({Need.AWS}, 60.5)])
def test_a_published_fleet_takes_effect_after_the_refresh(missing: set[Need], seconds: float) -> None:
    """The walk waits for the functions' refresh and a margin, which is shorter at an emulator."""
    found = {"Environment": {"Variables": {"FIRSTBOOT_FLEET_REFRESH": "60"}}}
    functions = SimpleNamespace(get_function_configuration=lambda **_: found)
    bench: Any = SimpleNamespace(outputs=str, client=lambda _: functions, missing=missing)
    assert growing._refresh(bench) == seconds
