"""Grants of the kind azure-sas: what the compiler accepts, and that no policy has a part of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from console import changes, report
from firstboot.compiler import deployment
from firstboot.compiler import fleet as compiler
from firstboot.compiler.errors import FleetInvalid
from firstboot.compiler.sums import warnings
from firstboot.domain.clock import EPOCH
from firstboot.domain.device import Device, Status
from firstboot.domain.fleet import Fleet
from firstboot.domain.hubs import HubGrant, hub_grants
from firstboot.domain.names import DeviceId
from firstboot.operate.explain import explain
from firstboot.policy import render
from firstboot.policy.errors import NoGrant
from firstboot.policy.render import Place
from firstboot.policy.rules import RequestContext, Rules
from firstboot.policy.sums import Sums
from firstboot.register.sweep import grant_policies
from firstboot.register.target import Account
from firstboot.runtime.routes import ROUTES, SAS, served
from tests.unit.fleet_folders import RULES, TOML, grant, permit, source

HUB = {"kind": "azure-sas", "hub": "myhub.azure-devices.net", "seconds": 3600}
PLACE = Place("aws", "eu-central-1", "123456789012")
DEVICE = Device(DeviceId("gw-1"), "gateways", Status.ENROLLED, 1, EPOCH, EPOCH)


def compiled(hub: Any = HUB, rules: str = RULES + permit("hub"), **more: Any) -> Fleet:
    """Return a fleet with the grants telemetry and hub."""
    return compiler.compile_fleet(source(grants={"telemetry": grant(), "hub": hub, **more}, rules=rules))


def problems(hub: Any, toml: str = TOML, **more: Any) -> list[str]:
    """Return the problems of a fleet with a grant."""
    grants = {"telemetry": grant(), "hub": hub, **more}
    with pytest.raises(FleetInvalid) as caught:
        compiler.compile_fleet(source(grants=grants, rules=RULES + permit("hub"), toml=toml))
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, HubGrant("myhub.azure-devices.net", 3600)),
        ({"policy": "sensors-only"}, HubGrant("myhub.azure-devices.net", 3600, "sensors-only")),
        ({"hub": "a-1.azure-devices.cn", "seconds": 86_400}, HubGrant("a-1.azure-devices.cn", 86_400)),
        ({"seconds": 300}, HubGrant("myhub.azure-devices.net", 300)),
    ],
)
def test_a_grant_names_a_hub(changed: dict[str, Any], found: HubGrant) -> None:
    """A grant has the hub's name, a lifetime, and the policy `device` unless it names another one."""
    fleet = compiled(HUB | changed)
    assert hub_grants(fleet.grants) == {"hub": found}
    assert Fleet.from_json(fleet.to_json()) == fleet
    compiler.check(fleet)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ({"kind": "aws"}, 'kind must be "azure-sas"'),
        ({"kind": None}, 'kind must be "azure-sas"'),
        (HUB | {"Statement": []}, "Statement is not supported"),
        ({"kind": "azure-sas", "hub": "myhub.azure-devices.net"}, "seconds is missing"),
        *(
            (HUB | {"hub": hub}, "hub must be the host name")
            for hub in (
                *(1, "", "myhub", "MyHub.azure-devices.net", "myhub.example.com", "-a.azure-devices.net"),
                *("myhub.azure-devices.net.example.com", "my/hub.azure-devices.net", "a-.azure-devices.net"),
                *("myhub.azure-devices.net\n", "x" * 51 + ".azure-devices.net", "ab.azure-devices.net"),
                "myhub.azure-devices.net/devices/other",
            )
        ),
        *((HUB | {"seconds": n}, "seconds must be an integer") for n in (299, 86_401, True, "3600", 3600.0)),
        *((HUB | {"policy": text}, "policy must be") for text in ("", "a&sr=b", "x" * 65, 1, None)),
    ],
)
def test_a_bad_grant_is_a_problem(bad: Any, problem: str) -> None:
    """A grant with another kind, host name, lifetime or policy does not compile."""
    (line,) = problems(bad)
    assert line.startswith(f"grants/hub.json: {problem}")


def test_a_hub_has_one_grant() -> None:
    """Two grants for one hub do not compile, because a request names the hub alone."""
    assert problems(HUB, second=HUB | {"seconds": 600}) == [
        "grants/second.json: its hub is that of grants/hub.json, and a hub has one grant"
    ]


def test_terms_are_about_statements() -> None:
    """A grant for a hub has no terms in fleet.toml."""
    (line,) = problems(HUB, toml=f"{TOML}\n[grants.hub]\nshared = true\n")
    assert line == "fleet.toml: grants.hub is about statements, and grants/hub.json has none"


def test_no_policy_has_a_part_of_it() -> None:
    """A grant for a hub adds nothing to a session policy, an AWS IoT policy, a token's rights or a role."""
    fleet = compiled()
    bare = replace(fleet, grants={"telemetry": fleet.grants["telemetry"]})
    both = ["hub", "telemetry"]
    assert render.session_policy(fleet, both, DEVICE.device_id, PLACE) == render.session_policy(
        bare, ["telemetry"], DEVICE.device_id, PLACE
    )
    assert render.ceiling(fleet, PLACE) == render.ceiling(bare, PLACE)
    assert render.iot_policy(fleet, "hub", PLACE) is None
    assert not render.is_about_iot(fleet, "hub")
    account = Account("Firstboot", PLACE)
    assert grant_policies(fleet, account) == grant_policies(bare, account)
    for refused in (render.session_policy, render.connection_policies):
        with pytest.raises(NoGrant):
            refused(fleet, ["hub"], DEVICE.device_id, PLACE)


def test_it_has_no_size() -> None:
    """A grant for a hub counts neither for the size of a session policy nor for AWS IoT's limits."""
    fleet = compiled()
    assert Sums(Rules(fleet), PLACE).of(DEVICE) == ()
    assert warnings(fleet) == []
    assert warnings(compiled(rules=permit("hub"))) == []
    assert [each.name for each in report._policies(fleet, PLACE) if each.name == "hub"] == []


def test_a_device_that_holds_it_alone_is_not_refused() -> None:
    """The explanation of a device with a grant for a hub alone names the grant and no session."""
    fleet = compiled(rules=permit("hub"))
    contexts = [RequestContext(), RequestContext(role_alias="telemetry")]
    alone, session = explain(DEVICE, contexts, Rules(fleet), PLACE)
    assert (alone.holdings.grants, alone.session_policy, alone.refusal) == (("hub",), None, None)
    assert isinstance(session.refusal, NoGrant)


def test_its_route_needs_a_deployment() -> None:
    """The route exists only with such a grant. The first one needs a deployment, and another one does not."""
    fleet = compiled()
    bare = replace(fleet, grants={"telemetry": fleet.grants["telemetry"]})
    assert SAS in served(fleet.offers)
    assert SAS not in served(bare.offers)
    assert SAS in ROUTES
    assert deployment.needs_deployment(bare, fleet) == ["no deployed grant is of the kind azure-sas"]
    more = replace(fleet, grants=fleet.grants | {"more": HUB | {"hub": "other.azure-devices.net"}})
    assert deployment.needs_deployment(fleet, more) == []
    assert deployment.beyond_roles(bare, fleet) == []


def test_a_change_is_shown() -> None:
    """`fleet diff` shows a changed lifetime."""
    (change,) = changes.between(compiled(), compiled(HUB | {"seconds": 600}))
    assert change.part == "grant hub"
    assert {'-  "seconds": 3600', '+  "seconds": 600'} <= set(change.diff)
