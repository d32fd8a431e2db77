"""Devices and requests that no rule can tell apart share one decision, and others do not."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from cedarpy import is_authorized_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstboot.domain.bounded import Bounded
from firstboot.domain.device import Attribute, Device
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


TWISTED = [
    'principal in [Device::"dev-1"]',
    '[principal].contains(Device::"dev-2")',
    '{d: Device::"dev-2"}.d == principal',
    'Device::"dev-1" in Group::"gateways"',
    'Device::"dev-1".deviceId == "dev-1"',
    'principal["deviceId"] == "dev-1"',
    "principal has deviceId",
    '{p: principal}.p["cl\\u{61}ims"] has model',
    'principal.claims == {model: "m1"}',
    "principal has claims.floor && principal.claims.floor > 1",
    'context == {roleAlias: "telemetry"}',
    '[context].contains({roleAlias: "telemetry"})',
    '{".": context}["."] has sourceIp',
    '{left: context, attr: "roleAlias"}.left.sourceIp.isIpv4()',
    "context.sourceIp == principal.lab",
    "principal has lab && principal.lab.isIpv6()",
]
"""Conditions that read a device, its claims or an address in unusual forms."""

IDS = ("dev-1", "dev-2")
CLAIMS: list[dict[str, Attribute]] = [{}, {"model": "m1"}, {"floor": 2}, {"floor": "x"}]
ATTRIBUTES: list[dict[str, Attribute]] = [
    {},
    {"lab": "10.0.0.1"},
    {"lab": "no address"},
    {"floor": True},
    {"quarantined": "yes"},
    {"unknown": 1, "deviceId": "dev-2", "claims": "x"},
]
REQUESTS = [
    *(RequestContext("telemetry", each) for each in ("10.0.0.1", "192.0.2.7", None, "IPv4", "2001:DB8::1")),
    RequestContext(None, "10.0.0.1"),
]

READ = ["192.0.2.7", "10.0.0.1", "2001:db8::1", "2001:DB8:0::1", "::", "10.0.0.1/32"]
UNREAD = [
    *("IPv4", "IPv6", "4", "6", "", "null", " 10.0.0.1", "010.0.0.1", "\u0661.2.3.4", "[::1]", "1::2::3"),
    *("::ffff:192.0.2.1", "fe80::1%eth0", "::1%1", "1:2:3:4:5:6:7:8::", "::00001"),
]
"""Texts that Cedar reads as an address, and texts that it does not."""


@pytest.mark.parametrize("condition", TWISTED)
def test_a_decision_is_that_of_a_process_without_a_memory(condition: str) -> None:
    """Each request, also one that does not fit the schema, has the decision that it has by itself."""
    rules = (
        PERMIT.format(condition)
        + f'@id("not") permit (principal, action, resource) unless {{ {condition} }};'
    )
    remembering, forgetting = (Rules(compiled(rules)) for _ in range(2))
    forgetting._decided = Bounded(0)
    for device_id, claims, attributes, context in product(IDS, CLAIMS, ATTRIBUTES, REQUESTS):
        asked = device(attributes=attributes, claims=claims, device_id=device_id)
        found = remembering.decide(asked, context)
        assert in_order(found) == in_order(forgetting.decide(asked, context))


@pytest.mark.parametrize("address", UNREAD)
def test_an_address_that_cedar_can_not_read_is_told_apart(address: str) -> None:
    """A text that Cedar does not read as an address gives no grant, after addresses that gave one."""
    made = Rules(fleet(rules=PERMIT.format("true")))
    for read in READ:
        assert made.decide(device(), replace(TELEMETRY, source_ip=read)).grants == ("telemetry",)
    assert made.decide(device(), replace(TELEMETRY, source_ip=address)).grants == ()


ALLOWING = Rules(fleet(rules=PERMIT.format("true")))


@settings(max_examples=300, deadline=None)
@given(st.ip_addresses().map(str) | st.text("0123456789abcdefABCDEF:.%/", min_size=2, max_size=24))
def test_addresses_that_share_a_decision_are_read(address: str) -> None:
    """An address shares the decision of another one only if Cedar reads both."""
    shared = {_key(read) for read in READ}
    if _key(address) in shared:
        held = ALLOWING._decide(device(), replace(TELEMETRY, source_ip=address))
        assert held.grants == ("telemetry",)


def _key(address: str) -> str:
    return ALLOWING._reads.key(device(), replace(TELEMETRY, source_ip=address))


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
    """Cedar decides once about devices of a group with equal attributes, from any address of a version."""
    made = Rules(fleet(rules=PERMIT.format(SITE)))
    for number in range(50):
        asked = device(attributes={"site": "oslo"}, claims={"model": f"m{number}"}, device_id=f"dev-{number}")
        for address in (f"192.0.2.{number}", f"2001:db8::{number:x}"):
            assert made.decide(asked, replace(TELEMETRY, source_ip=address)).grants == ("telemetry",)
    assert len(requests) == 2


def test_a_process_remembers_a_bounded_number(requests: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices can't fill the memory of a process with decisions."""
    monkeypatch.setattr(rules, "REMEMBERED", 2)
    made = Rules(fleet(rules=PERMIT.format("true")))
    for site in ("a", "b", "c", "a"):
        made.decide(device(attributes={"site": site}), TELEMETRY)
    assert len(requests) == 4


def test_a_decision_in_use_is_kept(requests: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision that is dropped is the one that was used the longest ago."""
    monkeypatch.setattr(rules, "REMEMBERED", 2)
    made = Rules(fleet(rules=PERMIT.format("true")))
    for site in ("a", "b", "a", "c", "a"):
        made.decide(device(attributes={"site": site}), TELEMETRY)
    assert len(requests) == 3
