"""Devices and requests that no rule can tell apart share one decision, and others do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cedarpy import is_authorized_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstboot.domain.device import Device
from firstboot.policy import decision, rules
from firstboot.policy.rules import RequestContext, Rules
from tests.unit.fleet_folders import OFFICE, device, fleet
from tests.unit.test_policy_decision import (
    BASE,
    CONTEXTS,
    DEVICES,
    GRANTS,
    RULE,
    Rule,
    by_cedar,
    compiled,
    in_order,
    text,
)

TELEMETRY = RequestContext("telemetry", "192.0.2.7")
PERMIT = '@id("only") permit (principal, action, resource) when {{ {} }};'


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record the requests to Cedar, which answers them."""
    found: list[Any] = []

    def count(asked: list[Any], *given: Any) -> Any:
        found.extend(asked)
        return is_authorized_batch(asked, *given)

    monkeypatch.setattr(decision, "is_authorized_batch", count)
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(RULE, max_size=6),
    st.lists(DEVICES, min_size=2, max_size=6),
    st.lists(CONTEXTS, min_size=1, max_size=4),
)
def test_each_of_many_decisions_is_cedar_s(
    made: list[Rule], asked: list[Device], contexts: list[RequestContext]
) -> None:
    """A decision about a device does not depend on the decisions before it."""
    whole = compiled(text(made), GRANTS, BASE.schema)
    remembering = Rules(whole)
    for context in contexts:
        for each in asked:
            assert in_order(remembering.decide(each, context)) == in_order(by_cedar(whole, each, context))


SITE = 'principal has site && principal.site == "oslo"'
DIFFERENT: dict[str, tuple[str, Device, RequestContext]] = {
    "group": ('principal in Group::"gateways"', device("sensors"), TELEMETRY),
    "device id": ('principal.deviceId == "dev-1"', device(device_id="dev-2"), TELEMETRY),
    "device": ('principal == Device::"dev-1"', device(device_id="dev-2"), TELEMETRY),
    "devices": ('[Device::"dev-1"].contains(principal)', device(device_id="dev-2"), TELEMETRY),
    "attribute": (f"!({SITE})", device(attributes={"site": "oslo"}), TELEMETRY),
    "claim": ("!(principal.claims has model)", device(claims={"model": "m1"}), TELEMETRY),
    "role alias": ('context.roleAlias == "telemetry"', device(), RequestContext(None, "192.0.2.7")),
    "address": (f"!({OFFICE})", device(), RequestContext("telemetry", "10.0.0.1")),
    "no address": ("context has sourceIp", device(), RequestContext("telemetry")),
    "bad address": ("true", device(), RequestContext("telemetry", "no address")),
    "bad attribute": ("true", device(attributes={"lab": "no address"}), TELEMETRY),
}


@pytest.mark.parametrize(("condition", "other", "context"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_a_rule_reads_is_told_apart(condition: str, other: Device, context: RequestContext) -> None:
    """A request that differs in what a rule reads, or that Cedar can't read, has its own decision."""
    made = Rules(fleet(rules=PERMIT.format(condition)))
    assert made.decide(device(), TELEMETRY).grants == ("telemetry",)
    assert made.decide(other, context).grants == ()


def test_true_is_not_one() -> None:
    """An attribute of another type has its own decision, also if Python finds the values equal."""
    made = Rules(fleet(rules=PERMIT.format("principal has floor && principal.floor == 1")))
    assert made.decide(device(attributes={"floor": 1}), TELEMETRY).grants == ("telemetry",)
    assert made.decide(device(attributes={"floor": True}), TELEMETRY).grants == ()


def test_an_error_names_its_own_device() -> None:
    """The errors of a decision are about the device that asked."""
    made = Rules(compiled(PERMIT.format("principal.floor > 1")))
    for name in ("dev-1", "dev-2"):
        assert name in made.decide(device(device_id=name), TELEMETRY).errors[0]


def test_devices_that_no_rule_tells_apart_are_decided_once(requests: list[Any]) -> None:
    """Cedar decides once about devices of a group with equal attributes, from any address."""
    made = Rules(fleet(rules=PERMIT.format(SITE)))
    for number in range(50):
        asked = device(attributes={"site": "oslo"}, claims={"model": f"m{number}"}, device_id=f"dev-{number}")
        assert made.decide(asked, replace(TELEMETRY, source_ip=f"192.0.2.{number}")).grants == ("telemetry",)
    assert len(requests) == 1


def test_a_process_remembers_a_bounded_number(requests: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices can't fill the memory of a process with decisions."""
    monkeypatch.setattr(rules, "REMEMBERED", 2)
    made = Rules(fleet(rules=PERMIT.format("true")))
    for site in ("a", "b", "c", "a"):
        made.decide(device(attributes={"site": site}), TELEMETRY)
    assert len(requests) == 4
