"""A decision that evaluates each rule once is the decision of Cedar's own algorithm."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cedarpy import Entities, PolicySet, Schema, is_authorized_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstboot.domain.device import Attribute, Device
from firstboot.domain.fleet import Fleet
from firstboot.policy import vocabulary
from firstboot.policy.rules import Holdings, RequestContext, Rules
from tests.unit.fleet_folders import device, fleet, grant

GRANTS = ("alpha", "telemetry", "zeta")
GROUPS = ("gateways", "sensors")
BASE = fleet(rules="", grants={name: grant() for name in GRANTS})


def compiled(rules: str) -> Fleet:
    """Return a fleet with these rules, of which the compiler would refuse some."""
    return replace(BASE, rules=rules)


PRINCIPALS = st.sampled_from(
    ["principal", *(f'principal in Group::"{group}"' for group in GROUPS), 'principal == Device::"dev-1"']
)
RESOURCES = st.sampled_from(
    [
        "resource",
        "resource is Grant",
        *(f'resource {scope} Grant::"{name}"' for name in GRANTS for scope in ("==", "in", "is Grant in")),
    ]
)
CONDITIONS = st.sampled_from(
    [
        "true",
        "principal.quarantined",
        'principal has site && principal.site == "berlin"',
        "principal has floor && principal.floor * 9223372036854775807 > 0",
        "principal.floor > 1",
        'principal.claims has model && principal.claims.model like "m*"',
        'context.roleAlias == "telemetry"',
        'context has sourceIp && context.sourceIp.isInRange(ip("192.0.2.0/24"))',
        "context.sourceIp.isIpv6()",
        'resource == Grant::"alpha"',
        'resource in Grant::"zeta" && principal.floor > 1',
        '[Grant::"alpha", Grant::"telemetry"].contains(resource)',
    ]
)
RULE = st.tuples(
    st.sampled_from(["permit", "permit", "permit", "forbid"]),
    PRINCIPALS,
    st.sampled_from(["action", 'action == Action::"hold"']),
    RESOURCES,
    st.sampled_from(["when", "unless"]),
    CONDITIONS,
)
ATTRIBUTES = st.fixed_dictionaries(
    {}, optional={"site": st.sampled_from(["berlin", "oslo"]), "floor": st.integers(0, 3)}
)
CLAIMS = st.fixed_dictionaries({}, optional={"model": st.sampled_from(["m1", "old"])})
CONTEXTS = st.builds(
    RequestContext,
    st.sampled_from([None, "telemetry", "other"]),
    st.sampled_from([None, "192.0.2.7", "198.51.100.1", "2001:db8::1", "no address"]),
)


def text(rules: list[tuple[str, ...]]) -> str:
    """Return these rules as Cedar's text."""
    return "\n".join(
        f'@id("rule-{number}") {effect} ({principal}, {action}, {resource}) {word} {{ {condition} }};'
        for number, (effect, principal, action, resource, word, condition) in enumerate(rules)
    )


def by_cedar(made: Fleet, asked: Device, context: RequestContext) -> Holdings:
    """Return the grants that a device holds by a request to Cedar for each of them."""
    schema = Schema.from_str(made.schema)
    entities = Entities.from_json_str(json.dumps(vocabulary.entities(asked)), schema)
    said = vocabulary.context(context.role_alias, context.source_ip)
    requests = [vocabulary.request(asked.device_id, name, said) for name in sorted(made.grants)]
    answers = is_authorized_batch(requests, PolicySet.from_str(made.rules), entities, schema)
    results = dict(zip(sorted(made.grants), answers, strict=True))
    ids: dict[str, tuple[str, ...]] = {
        name: tuple(sorted(result.diagnostics.id_annotations_by_reason.values()))
        for name, result in results.items()
    }
    granted = [name for name, result in results.items() if result.allowed and not result.diagnostics.errors]
    return Holdings(
        grants=tuple(granted),
        rules={name: ids[name] for name in granted},
        withheld={name: ids[name] for name, result in results.items() if not result.allowed and ids[name]},
        errors=tuple(
            f"{name}: {error}" for name, result in results.items() for error in result.diagnostics.errors
        ),
    )


def in_order(held: Holdings) -> Holdings:
    """Return the holdings with their errors in order. Cedar's own order of a grant's errors is random."""
    return replace(held, errors=tuple(sorted(held.errors)))


@settings(max_examples=400, deadline=None)
@given(st.lists(RULE, max_size=8), st.sampled_from(GROUPS), ATTRIBUTES, CLAIMS, CONTEXTS)
def test_the_decision_is_cedar_s(
    rules: list[tuple[str, ...]],
    group: str,
    attributes: dict[str, Attribute],
    claims: dict[str, Attribute],
    context: RequestContext,
) -> None:
    """Grants, rules, withheld grants and errors are those of a request to Cedar for each grant."""
    made = compiled(text(rules))
    asked = device(group=group, attributes=attributes, claims=claims)
    assert in_order(Rules(made).decide(asked, context)) == in_order(by_cedar(made, asked, context))


ONLY = '@id("only") permit (principal, action, resource {}) when {{ {} }};'


@pytest.mark.parametrize(
    ("scope", "condition", "held"),
    [
        ("", "true", GRANTS),
        ("is Grant", "true", GRANTS),
        ('== Grant::"alpha"', "true", ("alpha",)),
        ('in Grant::"alpha"', "true", ("alpha",)),
        ('is Grant in Grant::"alpha"', "true", ("alpha",)),
        ("is Group", "true", ()),
        ('== Group::"alpha"', "true", ()),
        ("", 'resource == Grant::"alpha"', ("alpha",)),
        ('== Grant::"zeta"', 'resource == Grant::"alpha"', ()),
    ],
)
def test_a_rule_counts_for_the_grants_of_its_scope(scope: str, condition: str, held: tuple[str, ...]) -> None:
    """A rule gives the grants that its scope and its conditions fit, and no other."""
    made = compiled(ONLY.format(scope, condition))
    assert Rules(made).decide(device(), RequestContext()).grants == held


def test_an_error_has_the_number_of_its_rule() -> None:
    """An error names the rule by the number that it has in the fleet's own text."""
    rules: Any = [
        ("permit", "principal", "action", "resource", "when", "true"),
        ("permit", "principal", "action", "resource", "when", 'resource == Grant::"alpha"'),
        ("forbid", "principal", "action", 'resource == Grant::"alpha"', "when", "principal.floor > 1"),
    ]
    made = compiled(text(rules))
    (error,) = Rules(made).decide(device(), RequestContext()).errors
    assert error.startswith("alpha: error while evaluating policy `policy2`")
