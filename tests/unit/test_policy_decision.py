"""A decision that evaluates each rule once is the decision of Cedar's own algorithm."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from cedarpy import Entities, PolicySet, Schema, is_authorized_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from firstboot.domain.device import Device
from firstboot.domain.fleet import Fleet
from firstboot.policy import decision, vocabulary
from firstboot.policy.decision import evaluations
from firstboot.policy.rules import Holdings, RequestContext, Rules
from tests.unit.fleet_folders import device, fleet, grant

GRANTS = ("alpha", "beta", "telemetry", "zeta")
GROUPS = ("gateways", "sensors", "elsewhere")
BASE = fleet(rules="", grants={name: grant() for name in GRANTS})
LISTED = BASE.schema.replace("entity Grant;", f"entity Grant enum {json.dumps(GRANTS)};")
WITH_SIZE = BASE.schema.replace("entity Grant;", "entity Grant = { size: Long };")


def compiled(rules: str, grants: Iterable[str] = GRANTS, schema: str = BASE.schema) -> Fleet:
    """Return a fleet with these rules, of which the compiler would refuse some."""
    return replace(BASE, rules=rules, schema=schema, grants={name: BASE.grants[name] for name in grants})


PRINCIPALS = st.sampled_from(
    [
        "principal",
        "principal is Device",
        "principal is Group",
        *(f'principal {scope} Group::"{name}"' for name in GROUPS for scope in ("in", "is Device in")),
        'principal == Device::"dev-1"',
        'principal in Device::"dev-1"',
    ]
)
ACTIONS = st.sampled_from(
    ["action", 'action == Action::"hold"', 'action in [Action::"hold"]', 'action == Action::"other"']
)
RESOURCES = st.sampled_from(
    [
        "resource",
        "resource is Grant",
        "resource is Group",
        *(f'resource {scope} Grant::"{name}"' for name in GRANTS for scope in ("==", "in", "is Grant in")),
        'resource == Grant::"missing"',
        'resource == Group::"alpha"',
    ]
)
ABOUT_DEVICES = [
    "true",
    "principal.quarantined",
    'principal has site && principal.site == "berlin"',
    '["berlin", "oslo"].contains(principal.site)',
    '["berlin", "bergen"].containsAny([principal.site])',
    'principal in [Group::"sensors", Device::"dev-2"]',
    'principal is Device in Group::"gateways"',
    'principal.deviceId like "dev-*"',
    "principal has floor && principal.floor * 9223372036854775807 > 0",
    "principal.floor > 1",
    "if principal has floor then principal.floor > 1 else false",
    'principal.claims has model && principal.claims.model like "m*"',
    "principal.claims has floor && principal.claims.floor + 1 == 2",
    'principal has lab && principal.lab.isInRange(ip("10.0.0.0/8"))',
    'decimal(principal.site).lessThan(decimal("1.5"))',
    'datetime("2026-01-01") < datetime("2026-06-01").offset(duration("-1d"))',
    'datetime(principal.site) < datetime("2026-06-01")',
    'context.roleAlias == "telemetry"',
    'context has sourceIp && context.sourceIp.isInRange(ip("192.0.2.0/24"))',
    "context.sourceIp.isIpv6()",
    "context.sourceIp.isLoopback() || principal.floor == 3",
    'Grant::"alpha" == Grant::"beta"',
]
ABOUT_GRANTS = [
    'resource == Grant::"alpha"',
    'Grant::"beta" != resource',
    'resource in Grant::"zeta" && principal.floor > 1',
    'resource in [Grant::"zeta", Grant::"alpha"]',
    'resource is Grant in Grant::"beta"',
    "resource is Group",
    '[Grant::"alpha", Grant::"telemetry"].contains(resource)',
    '[resource, Grant::"missing"].containsAll([Grant::"alpha"])',
    '{var: resource}.var == Grant::"telemetry" && principal.site == "oslo"',
    "resource has size && resource.size > 1",
    "resource.size > 1",
    'resource == Grant::"alpha" || resource.size > 1',
    'if resource == Grant::"alpha" then principal.floor > 1 else context.sourceIp.isIpv4()',
    "resource == principal",
]
CONDITIONS = st.sampled_from(ABOUT_DEVICES) | st.sampled_from(ABOUT_GRANTS)
CLAUSES = st.lists(st.tuples(st.sampled_from(["when", "unless"]), CONDITIONS), max_size=2)
RULE = st.tuples(
    st.sampled_from(["permit", "permit", "permit", "forbid"]), PRINCIPALS, ACTIONS, RESOURCES, CLAUSES
)
Rule = tuple[str, str, str, str, list[tuple[str, str]]]
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "site": st.sampled_from(["berlin", "oslo", "1.25", "2026-03-01"]),
        "floor": st.integers(0, 3),
        "quarantined": st.booleans(),
    },
)
CLAIMS = st.fixed_dictionaries(
    {}, optional={"model": st.sampled_from(["m1", "old"]), "floor": st.sampled_from([1, 2**63 - 1])}
)
CONTEXTS = st.builds(
    RequestContext,
    st.sampled_from([None, "telemetry", "other"]),
    st.sampled_from([None, "192.0.2.7", "198.51.100.1", "2001:db8::1", "127.0.0.1", "no address"]),
)
DEVICES = st.builds(
    device, st.sampled_from(GROUPS), ATTRIBUTES, CLAIMS, st.sampled_from(["dev-1", "dev-2", "gw_3"])
)


def text(rules: Iterable[Rule]) -> str:
    """Return these rules as Cedar's text."""
    return "\n".join(
        f'@id("rule-{number}") {effect} ({principal}, {action}, {resource})'
        f"{''.join(f' {word} {{ {condition} }}' for word, condition in clauses)};"
        for number, (effect, principal, action, resource, clauses) in enumerate(rules)
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


@settings(max_examples=500, deadline=None)
@given(
    st.lists(RULE, max_size=10),
    st.sets(st.sampled_from(GRANTS)),
    st.sampled_from([BASE.schema, WITH_SIZE]),
    DEVICES,
    st.lists(CONTEXTS, min_size=1, max_size=3),
)
def test_the_decision_is_cedar_s(
    rules: list[Rule], grants: set[str], schema: str, asked: Device, contexts: list[RequestContext]
) -> None:
    """Grants, rules, withheld grants and errors are those of a request to Cedar for each grant."""
    made = compiled(text(rules), grants, schema)
    faster = Rules(made)
    for context in contexts:
        assert in_order(faster.decide(asked, context)) == in_order(by_cedar(made, asked, context))


@pytest.mark.parametrize("condition", [*ABOUT_DEVICES, *ABOUT_GRANTS])
@pytest.mark.parametrize("schema", [BASE.schema, WITH_SIZE, LISTED])
def test_each_condition_decides_as_in_cedar(condition: str, schema: str) -> None:
    """A permit, a limited permit and a forbid with each condition decide as in Cedar, for two devices."""
    rules: list[Rule] = [
        ("permit", "principal", "action", "resource", []),
        ("permit", "principal", "action", "resource", [("when", condition)]),
        ("permit", "principal", "action", 'resource == Grant::"alpha"', [("unless", condition)]),
        ("forbid", "principal", "action", 'resource in Grant::"beta"', [("when", condition)]),
    ]
    for asked in (device(attributes={"floor": 3, "site": "oslo"}), device(device_id="dev-2")):
        for subset in (GRANTS if schema is LISTED else GRANTS[1:], GRANTS):
            made = compiled(text(rules), subset, schema)
            assert in_order(Rules(made).decide(asked, RequestContext("telemetry", "192.0.2.7"))) == in_order(
                by_cedar(made, asked, RequestContext("telemetry", "192.0.2.7"))
            )


def test_a_schema_may_list_the_grants() -> None:
    """A fleet whose schema lists the names of its grants gives them as any other fleet does."""
    made = fleet(schema=BASE.schema.replace("entity Grant;", 'entity Grant enum ["telemetry"];'))
    assert Rules(made).decide(device(), RequestContext()).grants == ("telemetry",)


@pytest.mark.parametrize(
    ("resource", "condition", "count"),
    [
        ("resource", "true", 1),
        ('resource == Grant::"alpha"', "true", 1),
        ('resource == Group::"alpha"', "true", 0),
        ("resource", 'resource == Grant::"alpha"', 2),
        ("resource", '[Grant::"alpha", Grant::"beta", Grant::"missing"].contains(resource)', 3),
        ('resource == Grant::"alpha"', '[Grant::"alpha", Grant::"beta"].contains(resource)', 1),
        ("resource", 'Grant::"alpha" == Grant::"beta"', 1),
        ("resource", "resource == resource", 1),
    ],
)
def test_a_rule_is_evaluated_once_for_what_it_tells_apart(resource: str, condition: str, count: int) -> None:
    """A rule is evaluated once for each grant that its conditions name, and once for all other grants."""
    (policy,) = vocabulary.policies(
        text([("permit", "principal", "action", resource, [("when", condition)])])
    ).values()
    assert evaluations(policy, GRANTS) == count


def test_a_decision_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decision makes one request of Cedar, for any number of grants and rules that tell them apart."""
    asked: list[int] = []

    def batch(requests: list[Any], *given: Any) -> Any:
        asked.append(len(requests))
        return is_authorized_batch(requests, *given)

    monkeypatch.setattr(decision, "is_authorized_batch", batch)
    rules: list[Rule] = [
        ("permit", "principal", "action", "resource", [("when", condition)]) for condition in ABOUT_GRANTS
    ]
    Rules(compiled(text(rules))).decide(device(), RequestContext())
    assert asked == [1]


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
    rules: list[Rule] = [
        ("permit", "principal", "action", "resource", []),
        ("permit", "principal", "action", "resource", [("when", 'resource == Grant::"alpha"')]),
        ("forbid", "principal", "action", 'resource == Grant::"alpha"', [("when", "principal.floor > 1")]),
    ]
    made = compiled(text(rules))
    (error,) = Rules(made).decide(device(), RequestContext()).errors
    assert error.startswith("alpha: error while evaluating policy `policy2`")
