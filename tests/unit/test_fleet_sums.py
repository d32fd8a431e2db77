"""Test the warnings about grants that may be too large together."""

from __future__ import annotations

from firstboot.compiler import sums
from tests import factories
from tests.unit.fleet_folders import TOML, fleet, large, permit

ALIASES = TOML + "[role_aliases.updates]\nseconds = 900\n"


def warnings(rules: str) -> list[str]:
    """Return the warnings about four large grants under these rules."""
    return sums.warnings(fleet(grants={name: large(name) for name in "abcd"}, rules=rules, toml=ALIASES))


def test_a_new_device_with_too_much() -> None:
    """A group whose new devices certainly hold too much is a warning for each role alias."""
    found = warnings('@id("all") permit (principal, action, resource);')
    assert [each.split(":")[:2] for each in found] == [
        ["groups.gateways", " a new device with a long id"]
    ] * 2
    assert "the grants a, b, c, d have" in found[0]


def test_grants_that_a_device_could_hold_together() -> None:
    """Grants that attributes could give together are a warning for the role alias that they ask for."""
    has_site = 'principal has site && context.roleAlias == "telemetry"'
    (found,) = warnings("".join(permit(name, has_site) for name in "abc"))
    assert found.startswith(
        "groups.gateways: role alias telemetry: a device that held all of the grants a, b, c"
    )


def test_grants_of_different_requests_are_not_together() -> None:
    """Grants that ask for different role aliases are no warning."""
    asked = permit("a", 'context.roleAlias == "telemetry"') + permit("b", 'context.roleAlias == "updates"')
    assert warnings(asked + permit("c", 'principal has site && context.roleAlias == ""')) == []


def test_a_rule_of_another_group_does_not_count() -> None:
    """A rule counts for the groups of its scope alone."""
    rules = "".join(
        f'@id("{name}") permit (principal in Group::"sensors", action, resource == Grant::"{name}")'
        " when { principal has site };"
        for name in "abc"
    )
    toml = TOML + '[groups.sensors]\ntrust = ["trust/other.pem"]\n'
    other = factories.pem(factories.authority().certificate).encode()
    first = factories.pem(factories.authority().certificate).encode()
    made = fleet(
        grants={name: large(name) for name in "abc"},
        rules=rules,
        toml=toml,
        trust={"factory.pem": first, "other.pem": other},
    )
    (found,) = sums.warnings(made)
    assert found.startswith("groups.sensors: role alias telemetry")
