"""Test which requests of a device exceed AWS's limits because its grants are too large together."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

import pytest
from cedarpy import policies_to_json_str
from hypothesis import given, settings
from hypothesis import strategies as st

from firstboot.domain.device import Attribute, Device, Status
from firstboot.domain.names import DeviceId
from firstboot.policy import addresses
from firstboot.policy.render import Place, session_policy
from firstboot.policy.rules import RequestContext, Rules
from firstboot.policy.sums import Excess, Sums, newly_certain
from tests.unit.fleet_folders import OFFICE, TOML, device, fleet, grant, large, permit, statement

PLACE = Place("aws", "us-east-1", "123456789012")


def topics(*names: str) -> dict[str, Any]:
    """Return a grant to publish to these topics of the device."""
    start = "arn:{partition}:iot:{region}:{account}:topic/{deviceId}/"
    return grant(statement(Action="iot:Publish", Resource=[f"{start}{name}" for name in names]))


def rules(text: str, *names: str) -> Rules:
    """Return rules about the large grants `names`, in a fleet with one group and one role alias."""
    return Rules(fleet(grants={name: large(name) for name in names or "abcd"}, rules=text))


def found(text: str, asked: Device | None = None) -> list[Excess]:
    """Return the excesses of a device under these rules."""
    return list(Sums(rules(text), PLACE).of(asked or device()))


ALL = '@id("all") permit (principal, action, resource);'


def test_an_excess_from_every_address_is_certain() -> None:
    """A device whose grants exceed a session policy from every address has a certain excess."""
    (excess,) = found(ALL)
    assert (excess.role_alias, excess.certain, excess.grants) == ("telemetry", True, ("a", "b", "c", "d"))
    assert "a session policy at most 2,048" in excess.text
    assert found(permit("a") + permit("b")) == []


def test_an_excess_from_some_addresses_is_possible() -> None:
    """A device whose grants exceed a session policy from some addresses only has a possible excess."""
    (excess,) = found(permit("a") + permit("b") + permit("c", OFFICE))
    assert (excess.certain, excess.grants) == (False, ("a", "b", "c"))
    assert "may, from some addresses, have" in excess.text


def test_grants_that_exclude_each_other_do_not_add_up() -> None:
    """Grants that no single address gives together are no excess, although each of them is possible."""
    text = permit("a") + permit("b", OFFICE) + permit("c", f"!({OFFICE})")
    assert found(text) == []


def test_an_excess_by_different_grants_is_certain() -> None:
    """An excess is certain if each address exceeds the limit, also with other grants."""
    text = permit("a") + permit("b") + permit("c", OFFICE) + permit("d", f"!({OFFICE})")
    (excess,) = found(text)
    assert excess.certain


def test_attributes_and_claims_decide() -> None:
    """A rule on an attribute or a claim takes part in the sum."""
    text = ALL + '@id("no") forbid (principal, action, resource) when { principal.quarantined };'
    text += '@id("old") forbid (principal, action, resource) when { principal.claims has model };'
    sums = Sums(rules(text), PLACE)
    assert sums.of(device())
    assert not sums.of(device(attributes={"quarantined": True}))
    assert not sums.of(device(claims={"model": "x"}))
    assert sums.of(device(attributes={"site": "x"}))


def test_equal_devices_are_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices that no rule can tell apart are decided once, and others are decided each."""
    asked: list[Device] = []
    decide = Rules.decide

    def counted(self: Rules, device: Device, *arguments: Any) -> Any:
        asked.append(device)
        return decide(self, device, *arguments)

    monkeypatch.setattr(Rules, "decide", counted)
    sums = Sums(rules(ALL), PLACE)
    for number in range(9):
        sums.of(device(device_id=f"dev-{number}", attributes={"site": f"s-{number}"}))
    assert len(asked) == 1
    sums.of(device(device_id="dev-10"))  # a longer id makes a longer policy
    assert len(asked) == 2
    by_id = Sums(rules(permit("a", 'principal.deviceId like "dev-1*"')), PLACE)
    for number in range(9):
        by_id.of(device(device_id=f"dev-{number}"))
    assert len(asked) == 11


def test_true_and_one_are_two_values() -> None:
    """An attribute of the value 1 and one of the value true are not equal, because their types differ."""
    sums = Sums(rules(permit("a", "principal has floor") + ALL), PLACE)
    assert sums.of(device(attributes={"floor": 1}))
    assert not sums.of(device(attributes={"floor": True}))  # does not fit the schema, which gives no grant


def test_only_devices_that_can_ask_count() -> None:
    """A revoked or deleted device has no excess, and an expected one has."""
    sums = Sums(rules(ALL), PLACE)
    for status, count in ((Status.EXPECTED, 1), (Status.REVOKED, 0), (Status.DELETED, 0)):
        assert len(sums.of(replace(device(), status=status))) == count


def test_the_length_of_the_id_counts() -> None:
    """A device with a long id may exceed the limit where one with a short id does not."""
    made = rules(permit("a") + permit("b"))
    for name, count in (("ab", 0), ("d" * 64, 1)):
        asked = device(device_id=name)
        assert (len(session_policy(made.fleet, "ab", asked.device_id, PLACE)) > 2_048) == bool(count)
        assert len(Sums(made, PLACE).of(asked)) == count


def test_a_certificate_has_ten_policies_at_most() -> None:
    """A device whose certificate would need more than ten policies has a certain excess over MQTT."""
    names = [f"t{number}" for number in range(10)]
    text = '@id("mqtt") permit (principal, action, resource) when { context.roleAlias == "" };'
    text += '@id("one") forbid (principal, action, resource == Grant::"t0") when { principal has site };'
    made = Rules(fleet(grants={name: topics(name) for name in names}, rules=text))
    sums = Sums(made, PLACE)
    (excess,) = sums.of(device())
    assert (excess.role_alias, excess.certain, len(excess.grants)) == (None, True, 10)
    assert excess.text.startswith("MQTT: ")
    assert not sums.of(device(attributes={"site": "x"}))
    assert not sums.of(device(device_id="dev.1"))  # no thing has this name, so no certificate is registered


def test_an_authorizer_s_answer_has_a_limit() -> None:
    """A device whose policies do not fit the custom authorizer's answer has a certain excess over MQTT."""
    toml = TOML.replace('trust = ["trust/factory.pem"]', 'trust = ["trust/factory.pem"]\nmqtt = "token"')
    toml += '[issuers.one]\nissuer = "https://a.example"\njwks = "https://a.example/k"\n'
    toml += 'algorithms = ["ES256"]\ngroups = ["gateways"]\n'
    # Statements of more than half of a document's size: each takes a document of its own.
    wide = {f"t{number}": topics(*(f"{number}-{each}" for each in range(9))) for number in range(11)}
    text = '@id("mqtt") permit (principal, action, resource) when { context.roleAlias == "" };'
    sums = Sums(Rules(fleet(grants=wide, rules=text, toml=toml)), PLACE)
    (excess,) = sums.of(device(device_id="d" * 64))
    assert excess.role_alias is None
    assert "do not fit the custom authorizer's answer" in excess.detail
    assert not sums.of(device(device_id="ab"))


def test_only_a_new_excess_is_new() -> None:
    """An excess is new if the same request had no certain excess before."""
    sure, may = (Excess("telemetry", certain=each, grants=(), detail="") for each in (True, False))
    other = replace(sure, role_alias=None)
    assert newly_certain([], [sure, may]) == [sure]
    assert newly_certain([may], [sure]) == [sure]
    assert newly_certain([sure], [sure, other]) == [other]


NETWORKS = st.one_of(
    st.builds(lambda n, bits: f"{IPv4Address(n)}/{bits}", st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda n, bits: f"{IPv6Address(n)}/{bits}", st.integers(0, 2**128 - 1), st.integers(0, 128)),
    st.sampled_from(["0.0.0.0/0", "::/0", "255.255.255.255/32", "::1/128", "10.0.0.0/8"]),
)
ADDRESSES = st.one_of(
    st.builds(lambda n: str(IPv4Address(n)), st.integers(0, 2**32 - 1)),
    st.builds(lambda n: str(IPv6Address(n)), st.integers(0, 2**128 - 1)),
    st.sampled_from(["127.0.0.1", "224.0.0.1", "255.255.255.255", "::1", "ff02::1", "10.255.255.255"]),
)
TESTS = st.one_of(
    st.sampled_from(["isLoopback()", "isMulticast()", "isIpv4()", "isIpv6()"]).map(
        lambda name: f"context.sourceIp.{name}"
    ),
    NETWORKS.map(lambda text: f'context.sourceIp.isInRange(ip("{text}"))'),
    NETWORKS.map(lambda text: f'ip("{text}").isInRange(context.sourceIp)'),
    ADDRESSES.map(lambda text: f'context.sourceIp == ip("{text}")'),
    NETWORKS.map(lambda text: f'context.sourceIp == ip("{text}")'),
    st.lists(NETWORKS, min_size=1, max_size=3).map(
        lambda texts: "[" + ", ".join(f'ip("{text}")' for text in texts) + "].contains(context.sourceIp)"
    ),
    st.just("principal has lab && context.sourceIp.isInRange(principal.lab)"),
)
CONDITIONS = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda each: f"({' '.join(each)})"),
        inner.map(lambda text: f"!({text})"),
    ),
    max_leaves=4,
)
LABS: st.SearchStrategy[dict[str, Attribute]] = st.one_of(
    st.just({}), NETWORKS.map(lambda text: {"lab": text})
)


def test_an_ipv4_mapped_address_has_a_form_that_cedar_reads() -> None:
    """An address is written without dots, which Cedar refuses, also if it is IPv4-mapped."""
    mapped = IPv6Address("::ffff:192.0.2.1")
    assert addresses.text(mapped) == "0:0:0:0:0:ffff:c000:201"
    condition = "context has sourceIp && context.sourceIp.isIpv6()"
    made = rules(f'@id("a") permit (principal, action, resource) when {{ {condition} }};', "a")
    held = made.decide(device(), RequestContext("telemetry", addresses.text(mapped)))
    assert (held.grants, held.errors) == (("a",), ())


@settings(max_examples=150, deadline=None)
@given(st.lists(CONDITIONS, min_size=1, max_size=3), ADDRESSES, LABS)
def test_no_rule_tells_an_address_from_its_representative(
    conditions: list[str], address: str, lab: dict[str, Attribute]
) -> None:
    """Under any rules about addresses, an address gives the grants that one of the representatives gives."""
    names = "abc"[: len(conditions)]
    text = "".join(
        f'@id("{name}") permit (principal, action, resource == Grant::"{name}")'
        f" when {{ context has sourceIp && {condition} }};"
        for name, condition in zip(names, conditions, strict=True)
    )
    made, asked = rules(text, *names), device(attributes=lab)
    policies = list(json.loads(policies_to_json_str(text))["staticPolicies"].values())
    assert all(map(addresses.reads_address, policies))
    known = addresses.representatives([*addresses.literals(policies), *addresses.in_values(lab.values())])
    possible = {
        made.decide(asked, RequestContext("telemetry", addresses.text(each))).grants for each in known
    }
    literals = addresses.literals(policies)
    edges = {addresses.text(edge) for each in literals for edge in (each[0], each[-1])}
    for each in {address, *edges}:
        assert made.decide(asked, RequestContext("telemetry", each)).grants in possible


@pytest.mark.parametrize(
    ("rule", "reads"),
    [
        ('permit (principal, action, resource == Grant::"a") when { context.roleAlias == "x" };', False),
        (f'permit (principal, action, resource == Grant::"a") when {{ {OFFICE} }};', True),
        ("permit (principal, action, resource) when { context has roleAlias };", False),
        ("forbid (principal, action, resource) when { context == context };", True),
        ("permit (principal, action, resource) when { context has sourceIp };", True),
    ],
)
def test_rules_that_depend_on_the_address(rule: str, *, reads: bool) -> None:
    """A rule depends on the address if it uses more of the context than the role alias."""
    (policy,) = json.loads(policies_to_json_str(rule))["staticPolicies"].values()
    assert addresses.reads_address(policy) == reads


def test_a_record_s_member_is_no_range() -> None:
    """A member `ip` of a record in a rule is not read as a range."""
    text = '@id("a") permit (principal, action, resource) when { {ip: ip("10.0.0.1")}.ip.isIpv4() };'
    policies = json.loads(policies_to_json_str(text))["staticPolicies"].values()
    assert addresses.literals(policies) == [ip_network("10.0.0.1/32")]


def test_rules_on_one_device_are_decided_for_it() -> None:
    """A rule that names a device gives another result for that device alone."""
    text = permit("a") + permit("b")
    text += '@id("c") permit (principal == Device::"dev-1", action, resource == Grant::"c");'
    sums = Sums(rules(text), PLACE)
    assert not sums.of(device(device_id=DeviceId("dev-2")))
    assert sums.of(device(device_id=DeviceId("dev-1")))


def test_details_have_the_numbers() -> None:
    """The detail of an excess says how much was needed and how much there is."""
    names = [f"t{number}" for number in range(10)]
    text = '@id("mqtt") permit (principal, action, resource) when { context.roleAlias == "" };'
    (mqtt,) = Sums(Rules(fleet(grants={name: topics(name) for name in names}, rules=text)), PLACE).of(
        device()
    )
    assert mqtt.detail == "are 10 policies, and a certificate has room for 9"
    assert mqtt.text == f"MQTT: the grants {', '.join(names)} {mqtt.detail}"
    made = rules(ALL)
    (excess,) = Sums(made, PLACE).of(device())
    size = len(session_policy(made.fleet, frozenset("abcd"), DeviceId("dev-1"), PLACE))
    assert excess.detail == f"have {size:,} characters, and a session policy at most 2,048"


def test_ranges_in_attributes_are_read() -> None:
    """An attribute that is a range divides the addresses, also if it is written with its host's bits."""
    assert addresses.in_values(["10.0.0.1/8", "site", 7, True]) == [ip_network("10.0.0.0/8")]
    lab = "context has sourceIp && principal has lab && context.sourceIp.isInRange(principal.lab)"
    text = permit("a") + permit("b") + permit("c", lab)
    (excess,) = found(text, device(attributes={"lab": "10.0.0.0/8"}))
    assert (excess.certain, excess.grants) == (False, ("a", "b", "c"))
    assert found(text) == []


def test_devices_with_other_claims_are_decided_each() -> None:
    """Claims tell devices apart only if a rule reads claims, and attributes only if a rule reads them."""
    sums = Sums(rules(permit("a", 'principal has site && principal.site == "x"') + ALL), PLACE)
    assert sums._key(device(claims={"model": "x"})) == sums._key(device())
    assert sums._key(device(attributes={"site": "x"})) != sums._key(device(attributes={"site": "y"}))
    assert sums._key(device(attributes={"floor": 1})) == sums._key(device(attributes={"floor": 2}))
    one, two = {"site": "x", "floor": 1}, {"floor": 1, "site": "x"}
    assert sums._key(device(attributes=one)) == sums._key(device(attributes=two))  # type: ignore[arg-type]


def test_a_sum_at_the_limit_is_no_excess() -> None:
    """Grants that together have exactly as many characters as a session policy may have are no excess."""
    made = rules(permit("a") + permit("b", OFFICE), "a", "b")
    size = len(session_policy(made.fleet, frozenset("ab"), DeviceId("dev-1"), PLACE))
    padding = "x" * (2_048 - size)
    grants = {name: json.loads(json.dumps(large(name))) for name in "ab"}
    grants["b"]["Statement"][0]["Resource"] += padding
    exact = Rules(fleet(grants=grants, rules=permit("a") + permit("b", OFFICE)))
    assert len(session_policy(exact.fleet, frozenset("ab"), DeviceId("dev-1"), PLACE)) == 2_048
    assert not Sums(exact, PLACE).of(device())
    grants["b"]["Statement"][0]["Resource"] += "x"
    over = Rules(fleet(grants=grants, rules=permit("a") + permit("b", OFFICE)))
    assert Sums(over, PLACE).of(device())


def test_the_role_alias_counts_beside_the_address() -> None:
    """A rule on the role alias and the address takes part in the sum of that role alias."""
    both = f'context.roleAlias == "telemetry" && {OFFICE}'
    (excess,) = found(permit("a") + permit("b") + permit("c", both))
    assert (excess.role_alias, excess.certain, excess.grants) == ("telemetry", False, ("a", "b", "c"))
    assert found(permit("a") + permit("b") + permit("c", both.replace("==", "!=", 1))) == []


@given(st.sets(st.sampled_from("abcde")), st.sampled_from(["dev-1", "a", "g" * 64]))
def test_a_size_is_that_of_the_rendered_policy(held: set[str], name: str) -> None:
    """The size of some grants is the length of their session policy, with statements that they share once."""
    own = {each: statement(Resource=f"arn:{{partition}}:s3:::{each}/{{deviceId}}/*") for each in "abcd"}
    grants = {each: grant(statement(), one) for each, one in own.items()}
    made = Sums(Rules(fleet(grants=grants | {"e": grants["a"]}, rules="")), PLACE)
    asked = device(device_id=name)
    for _ in range(2):
        size = len(session_policy(made.fleet, sorted(held), asked.device_id, PLACE)) if held else 0
        assert made._size(frozenset(held), asked) == size


def test_an_attribute_that_does_not_fit_is_told_apart() -> None:
    """A text that the schema does not accept as an address takes all grants of its device, and no other's."""
    for texts in (("10.0.0.1", "no address"), ("no address", "10.0.0.1")):
        sums = Sums(rules(ALL), PLACE)
        assert {each: bool(sums.of(device(attributes={"lab": each}))) for each in texts} == {
            "10.0.0.1": True,
            "no address": False,
        }
