"""Test which grants a device holds by the rules, and that every error is a denial."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cedarpy import Decision, is_authorized
from hypothesis import given, settings
from hypothesis import strategies as st

from firstboot.domain.clock import epoch, from_epoch
from firstboot.domain.device import Attribute
from firstboot.policy import vocabulary
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.rules import Holdings, RequestContext, Rules, RulesInForce
from tests.unit.fleet_folders import RULES, SCHEMA, device, fleet, grant

ANY = RequestContext("telemetry", "192.0.2.1")
NEVER = '@id("never") forbid (principal, action, resource) when '
OVERFLOWS = NEVER + "{ principal has floor && principal.floor * 9223372036854775807 > 0 };"
VALUES = st.booleans() | st.integers() | st.text(max_size=8)


def _rules(*more: str, schema: str = SCHEMA) -> Rules:
    return Rules(fleet(rules=RULES + "".join(more), schema=schema))


def test_a_permit_grants_and_is_named() -> None:
    """A held grant comes with the ids of the rules that permitted it."""
    more = '@id("also") permit (principal, action, resource) when { principal.deviceId == "dev-1" };'
    assert _rules(more).decide(device(), ANY) == Holdings(
        grants=("telemetry",), rules={"telemetry": ("all-telemetry", "also")}
    )


def test_each_grant_is_decided() -> None:
    """A rule gives the grant it names, or every grant if it names none, and grants are in order of name."""
    grants = {"telemetry": grant(), "zeta": grant(), "alpha": grant()}
    every = '@id("every") permit (principal, action, resource) when { principal has site };'
    rules = Rules(fleet(rules=RULES + every, grants=grants))
    assert rules.decide(device(), ANY).grants == ("telemetry",)
    assert rules.decide(device(attributes={"site": "x"}), ANY).grants == ("alpha", "telemetry", "zeta")


def test_without_a_permit_nothing_is_held() -> None:
    """A device for which no rule applies holds no grant, and that is no error."""
    assert _rules().decide(device(group="sensors"), ANY) == Holdings()
    assert Rules(fleet(rules="")).decide(device(), ANY) == Holdings()
    assert Rules(fleet(rules="", grants={})).decide(device(), ANY) == Holdings()


def test_a_forbid_wins_and_is_named() -> None:
    """A forbidden grant is withheld, and comes with the ids of the rules that forbade it."""
    rules = _rules(NEVER + "{ principal.quarantined };")
    assert rules.decide(device(), ANY).grants == ("telemetry",)
    held = rules.decide(device(attributes={"quarantined": True}), ANY)
    assert held == Holdings(withheld={"telemetry": ("never",)})


def test_an_erring_forbid_denies() -> None:
    """A `forbid` rule that fails denies, although Cedar would skip it and allow."""
    rules, erring = _rules(OVERFLOWS), device(attributes={"floor": 2})
    asked = vocabulary.request("dev-1", "telemetry", vocabulary.context("telemetry", None))
    raw = is_authorized(asked, RULES + OVERFLOWS, vocabulary.entities(erring))
    assert raw.decision is Decision.Allow
    held = rules.decide(erring, ANY)
    assert held.grants == ()
    assert held.rules == {}
    assert "overflow" in held.errors[0]
    assert rules.decide(device(attributes={"floor": 0}), ANY).grants == ("telemetry",)


def test_an_error_denies_its_own_grant_only() -> None:
    """A rule that fails denies only the grants that it is about."""
    only = OVERFLOWS.replace("resource)", 'resource == Grant::"zeta")')
    every = '@id("every") permit (principal, action, resource);'
    rules = Rules(fleet(rules=every + only, grants={"telemetry": grant(), "zeta": grant()}))
    assert rules.decide(device(attributes={"floor": 2}), ANY).grants == ("telemetry",)


def test_an_invalid_address_denies() -> None:
    """An invalid address in the request context is an error and denies."""
    held = _rules().decide(device(), RequestContext("telemetry", "no address"))
    assert held.grants == ()
    assert "no address" in held.errors[0]


def test_rules_see_the_context() -> None:
    """Rules see the role alias, which is "" if there is none, and the address, which may be absent."""
    here = 'context has sourceIp && context.sourceIp.isInRange(ip("192.0.2.0/24"))'
    permit = "permit (principal, action, resource) when"
    mqtt = f'@id("a") {permit} {{ context.roleAlias == "" && !({here}) }};'
    alias = f'@id("b") {permit} {{ context.roleAlias == "x" && {here} }};'
    rules = Rules(fleet(rules=mqtt + alias))
    contexts = [
        RequestContext(),
        RequestContext("x", "192.0.2.9"),
        RequestContext("x", "2001:db8::1"),
        RequestContext("x"),
        RequestContext(None, "192.0.2.9"),
    ]
    given_by = [rules.decide(device(), context).rules.get("telemetry") for context in contexts]
    assert given_by == [("a",), ("b",), None, None, None]


def test_attributes_and_claims_are_apart() -> None:
    """A claim of a device never counts as an attribute, and an attribute never counts as a claim."""
    rules = _rules(NEVER + '{ !(principal has site && principal.site == "x") };')
    assert rules.decide(device(claims={"site": "x"}), ANY).grants == ()
    assert rules.decide(device(attributes={"site": "x"}), ANY).grants == ("telemetry",)
    claimed = _rules(NEVER + '{ principal.claims has model && principal.claims.model == "old" };')
    assert claimed.decide(device(claims={"model": "old"}), ANY).grants == ()
    assert claimed.decide(device(claims={"model": "new"}), ANY).grants == ("telemetry",)


def test_firstboots_own_attributes_cannot_be_overwritten() -> None:
    """An attribute in a record cannot replace one that Firstboot sets, such as `deviceId`."""
    rules = _rules(NEVER + '{ principal.deviceId != "dev-1" || principal.claims has model };')
    forged = device(attributes={"deviceId": "dev-2", "claims": "x"})
    assert rules.decide(forged, ANY).grants == ("telemetry",)


def test_an_attribute_of_another_type_denies() -> None:
    """An attribute that does not fit the schema denies, because a `forbid` rule might miss it."""
    held = _rules().decide(device(attributes={"floor": "third"}), ANY)
    assert held == Holdings(errors=("dev-1: an attribute does not fit the schema",))
    assert _rules().decide(device(attributes={"quarantined": "no"}), ANY).grants == ()


def test_an_attribute_that_left_the_schema_is_ignored() -> None:
    """An attribute that is no longer in the schema is ignored, and the others still count."""
    rules = _rules(NEVER + "{ principal has site };")
    assert rules.decide(device(attributes={"retired": "x", "\ud800": 1, "a b": 1}), ANY).grants == (
        "telemetry",
    )
    assert rules.decide(device(attributes={"retired": "x", "site": "y"}), ANY).grants == ()


CLAIMS: dict[str, Attribute] = {"model": "m1", "floor": "ground", "unknown": 1, "__extn": "x", "\ud800": "x"}


def test_claims_that_do_not_fit_are_dropped() -> None:
    """A claim that does not fit the schema is dropped, and the decision is as without it."""
    rules = _rules(NEVER + '{ principal.claims has model && principal.claims.model == "m1" };')
    assert rules.fitting_claims(device(claims=CLAIMS)) == {"model": "m1"}
    assert rules.decide(device(claims=CLAIMS), ANY) == rules.decide(device(claims={"model": "m1"}), ANY)
    assert rules.decide(device(claims=CLAIMS | {"model": True}), ANY).grants == ("telemetry",)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["model", "floor", "__entity", "type"]) | st.text(max_size=8), VALUES))
def test_no_claims_break_a_decision(claims: dict[str, Attribute]) -> None:
    """No claims of a device make a decision fail."""
    held = _SHARED.decide(device(claims=claims), ANY)
    assert held == Holdings(grants=("telemetry",), rules={"telemetry": ("all-telemetry",)})


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["site", "floor", "quarantined", "claims", "x"]) | st.text(max_size=8), VALUES
    )
)
def test_attributes_that_pass_the_check_are_decided_on(attributes: dict[str, Attribute]) -> None:
    """Attributes that an operator may set never make a decision fail."""
    one = device(attributes=attributes)
    try:
        _SHARED.check_attributes(one)
    except AttributesInvalid:
        return
    assert _SHARED.decide(one, ANY).errors == ()


_SHARED = _rules()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("deviceId", "dev-2", "deviceId is reserved for Firstboot"),
        ("claims", "x", "claims is reserved for Firstboot"),
        ("sit", "x", "sit is not in the schema"),
        ("", "x", " is not in the schema"),
        ("\ud800", "x", "is not in the schema"),
        ("site", 3, "site must be a string, not 3"),
        ("site", True, "site must be a string, not a boolean"),
        ("floor", "3", "floor must be an integer of 64 bits, not a string"),
        ("floor", True, "floor must be an integer of 64 bits, not a boolean"),
        ("floor", 2**63, "floor must be an integer of 64 bits, not 9223372036854775808"),
        ("quarantined", 1, "quarantined must be a boolean, not 1"),
        ("lab", "somewhere", "lab must be of a type that no operator can set, not a string"),
    ],
)
def test_attributes_must_fit_the_schema(name: str, value: Attribute, problem: str) -> None:
    """An attribute that does not fit the schema is refused by name before it is written."""
    with pytest.raises(AttributesInvalid) as caught:
        _SHARED.check_attributes(device(attributes={"site": "ok", name: value}))
    assert problem in caught.value.detail


def test_every_misfit_is_reported() -> None:
    """One answer names every attribute that does not fit."""
    with pytest.raises(AttributesInvalid, match=r"sit is not in the schema; floor must be an integer"):
        _SHARED.check_attributes(device(attributes={"sit": 1, "floor": "x", "site": "fine"}))


def test_attributes_that_fit_pass() -> None:
    """Text, whole numbers, booleans and an address as text are accepted as attributes."""
    _SHARED.check_attributes(
        device(
            attributes={"site": "x", "floor": -3, "quarantined": True, "lab": "10.0.0.0/8"}, claims={"x": 1}
        )
    )


def test_rules_are_parsed_again_when_the_fleet_changes() -> None:
    """The rules in force are those of the fleet at that time, and are parsed once for each fleet."""
    fleets = {1: fleet(), 2: fleet(rules="")}
    in_force = RulesInForce(lambda now: fleets[epoch(now)])
    first = in_force.at(from_epoch(1))
    assert first.fleet is fleets[1]
    assert in_force.at(from_epoch(1)) is first
    assert in_force.at(from_epoch(2)).fleet is fleets[2]


def test_a_claim_is_judged_without_the_attributes() -> None:
    """A claim that fits counts as fitting, also beside an attribute that does not."""
    one = device(attributes={"floor": "third"}, claims={"model": "m1"})
    assert _rules().fitting_claims(one) == {"model": "m1"}


def test_rules_see_the_current_name_of_a_group() -> None:
    """A device whose record has a former name of its group has the grants of the group."""
    made = fleet()
    group = replace(made.groups["gateways"], name="hubs", formerly=("gateways",))
    renamed = replace(made, groups={"hubs": group}, rules=RULES.replace('"gateways"', '"hubs"'))
    assert Rules(renamed).decide(device(group="gateways"), ANY).grants == ("telemetry",)
