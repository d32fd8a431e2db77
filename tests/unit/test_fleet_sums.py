"""Test the warnings about grants that may be too large together."""

from __future__ import annotations

from typing import Any

import pytest

from firstboot.compiler import sums
from tests import factories
from tests.unit.fleet_folders import TOML, fleet, grant, large, permit, statement

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


def topics(name: str, count: int = 1) -> dict[str, Any]:
    """Return a grant to publish to topics of the device."""
    start = f"arn:{{partition}}:iot:{{region}}:{{account}}:topic/{{deviceId}}/{name}"
    return grant(statement(Action="iot:Publish", Resource=[f"{start}{each}" for each in range(count)]))


@pytest.mark.parametrize(("count", "policies"), [(9, None), (10, 11)])
def test_policies_that_a_certificate_could_have_together(count: int, policies: int | None) -> None:
    """More than nine grants about AWS IoT that attributes could give together are a warning with the number.

    A grant that is asked for with a role alias does not count, and neither does one without AWS IoT.
    """
    names = [f"t{number}" for number in range(count)]
    rules = "".join(permit(name, 'principal has site && context.roleAlias == ""') for name in names)
    rules += permit("u", 'context.roleAlias == "telemetry"') + permit("s", "principal has site")
    grants = {name: topics(name) for name in [*names, "u"]} | {"s": grant()}
    found = sums.warnings(fleet(grants=grants, rules=rules))
    assert [each.split(" would have ")[1] for each in found] == (
        [f"{policies} policies on its certificate, and it may have 10"] if policies else []
    )
    assert all(each.startswith("groups.gateways: MQTT: a device that held all of") for each in found)


def test_documents_that_an_answer_could_have_together() -> None:
    """Grants that may not fit a custom authorizer's answer together are a warning with the number."""
    toml = TOML.replace('trust = ["trust/factory.pem"]', 'trust = ["trust/factory.pem"]\nmqtt = "token"')
    toml += '[issuers.one]\nissuer = "https://a.example"\njwks = "https://a.example/k"\n'
    toml += 'algorithms = ["ES256"]\ngroups = ["gateways"]\n'
    # Statements of more than half of a document's size: each takes a document of its own.
    wide = {f"t{number}": topics(f"{number}-", 9) for number in range(11)}
    rules = "".join(permit(name, 'principal has site && context.roleAlias == ""') for name in wide)
    (line,) = sums.warnings(fleet(grants=wide, rules=rules, toml=toml))
    assert "MQTT" in line
    assert "more than fits the custom authorizer's answer (11 documents" in line


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
