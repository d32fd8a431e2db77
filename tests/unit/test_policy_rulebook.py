"""Test the compiler's checks of rules and schema, which leave only rules that can be decided."""

from __future__ import annotations

import sys

import pytest

from tests.unit.fleet_folders import RULES, SCHEMA, fleet, problems

SAMPLE = """
@id("gateway-telemetry")
permit (principal in Group::"gateways", action == Action::"hold", resource == Grant::"telemetry")
when   { principal has site && context.roleAlias == "telemetry" }
unless { principal.quarantined };
"""


def rule(
    condition: str = "true", scope: str = "principal, action, resource", identifier: str = '@id("r")'
) -> str:
    """Return a rule with this condition, scope and annotation."""
    return f"{identifier} permit ({scope}) when {{ {condition} }};"


@pytest.mark.parametrize(
    "rules",
    [
        "",
        "// no device holds a grant",
        RULES,
        SAMPLE,
        rule(),
        rule('principal == Device::"gw-1" && principal.deviceId like "gw-*"'),
        rule('context has sourceIp && context.sourceIp.isInRange(ip("10.0.0.0/8"))'),
        rule("principal.claims has floor && principal.claims.floor > 3"),
        rule("principal has lab && principal.lab.isLoopback()"),
        rule(scope='principal is Device in Group::"gateways", action in [Action::"hold"], resource'),
        rule('{type: "Absent", id: "x"} == {type: "Absent", id: "x"}'),
    ],
)
def test_good_rules_compile(rules: str) -> None:
    """A rule compiles if the schema allows it."""
    assert fleet(rules=rules).rules == rules


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("permit (", "rules.cedar: "),
        ("nonsense", "rules.cedar: "),
        (rule(identifier=""), "rule number 1: has no @id"),
        (rule(identifier="@id"), "rule number 1: has no @id"),
        (rule(identifier='@id("")'), "rule number 1: has no @id"),
        (rule() + rule(identifier=""), "rule number 2: has no @id"),
        (rule() + rule(), 'rules.cedar: @id("r") is on more than one rule'),
        (rule(scope="principal == ?principal, action, resource"), "templates"),
        (rule(scope='principal in Group::"gatewys", action, resource'), 'there is no Group::"gatewys"'),
        (rule(scope='principal, action, resource == Grant::"telemtry"'), 'there is no Grant::"telemtry"'),
        (rule('principal in [Group::"gateways", Group::"x"]'), 'there is no Group::"x"'),
        (rule('resource == Grant::"x" || true'), 'there is no Grant::"x"'),
        (rule('principal == Device::"a b"'), 'Device::"a b" is not a valid device id'),
        (rule("principal.sit == 1"), "attribute `sit` on entity type `Device` not found"),
        (rule('principal.site == "x"'), "unable to guarantee safety"),
        (rule('principal has site && principal.site == 3 && principal.site.contains("x")'), 'rule "r": '),
        (rule("principal.deviceId < 3"), 'rule "r": '),
        (rule("context.roleAlia == 1"), 'rule "r": '),
        (rule("principal has sit"), "`has sit` is never true"),
        (rule("true || principal has sit"), "`has sit` is never true"),
        (rule("principal has sit && principal.sit == 1"), "`has sit` is never true"),
        (rule('context has rolAlias && context.rolAlias == "x"'), "`has rolAlias` is never true"),
        (rule("principal.claims has modl"), "`has modl` is never true"),
        (rule("if principal has claims.modl then true else false"), "`has modl` is never true"),
        (rule(scope='principal, action == Action::"connect", resource'), 'there is no Action::"connect"'),
        (rule("true && " * 2_000 + "true"), "more than 10000 characters"),
        (rule("(" * 5_000 + "true" + ")" * 5_000), "more than 10000 characters"),
        (rule("[" * 300 + "]" * 300 + ".isEmpty()"), "or 200 brackets"),
        pytest.param(
            *(rule("true && " * 1_000 + "true"), "rules.cedar: "),
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12), reason="from Python 3.12 on, json reads a rule of this depth"
            ),
        ),
        (rule("principal" + ".claims" * 200 + " has x"), "rules.cedar"),
    ],
)
def test_bad_rules_are_problems(rules: str, problem: str) -> None:
    """Each mistake in a rule is a problem that names the file and, if the rule has an id, the rule."""
    found = problems(rules=rules)
    assert all(line.startswith("rules.cedar") for line in found)
    assert any(problem in line for line in found), found


def test_a_misspelled_forbid_does_not_compile() -> None:
    """A `forbid` with a misspelled attribute in `has` does not compile, because it would never apply."""
    forbid = (
        '@id("f") forbid (principal, action, resource) when { principal has flor && principal.flor > 3 };'
    )
    assert problems(rules=RULES + forbid) == [
        'rules.cedar:4: rule "f": `has flor` is never true: the schema has no such attribute'
    ]


def test_other_entities_and_actions_are_refused() -> None:
    """A rule cannot use an entity or action that the schema declares and Firstboot never supplies."""
    schema = SCHEMA.replace("entity Grant;", "entity Shelf; entity Grant in [Shelf];")
    schema = schema.replace("action hold ", "action all; action hold in [all] ")
    assert fleet(schema=schema)
    assert 'Shelf::"a": Firstboot knows' in problems(schema=schema, rules=rule('resource in Shelf::"a"'))[0]
    scope = 'principal, action in Action::"all", resource'
    assert 'there is no Action::"all"' in problems(schema=schema, rules=rule(scope=scope))[0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("deviceId: String, ", ""),
        ("deviceId: String", "deviceId: Long"),
        ("deviceId: String", "deviceId: ipaddr"),
        ("quarantined: Bool, ", ""),
        ("quarantined: Bool", "quarantined: String"),
        ("claims: { model?: String, floor?: Long },", ""),
        ("claims: { model?: String, floor?: Long },", "claims: Set<String>,"),
        ("model?: String", "model: String"),
        ("site?: String", "site: String"),
        ("entity Device in [Group] =", "entity Device ="),
        ("entity Group;", "entity Group = { region: String };"),
        ("entity Group;", 'entity Group enum ["others"];'),
        ("entity Grant;", 'entity Grant enum ["others"];'),
        ("roleAlias: String, ", ""),
        ("roleAlias: String", "roleAlias: Long"),
        ("roleAlias: String", "roleAlias: String, tenant: String"),
        ("sourceIp?: ipaddr", ""),
        ("sourceIp?: ipaddr", "sourceIp: ipaddr"),
        ("sourceIp?: ipaddr", "sourceIp?: String"),
        ("principal: [Device]", "principal: [Group]"),
        ("resource: [Grant]", "resource: [Group]"),
        ("action hold", "action have"),
        ("entity Group;", "namespace Acme {"),
        ("entity Group;", ""),
        ("entity Group;", "entity Group"),
        ("site?: String", "site?: " + "Set<" * 300 + "String" + ">" * 300),
    ],
)
def test_bad_schemas_are_problems(before: str, after: str) -> None:
    """A schema that does not fit what Firstboot supplies is a problem: every decision would fail."""
    assert before in SCHEMA
    found = problems(schema=SCHEMA.replace(before, after), rules="")
    assert all(line.startswith("schema.cedarschema: ") for line in found), found


def test_a_schema_problem_says_what_is_wrong() -> None:
    """A problem with the schema names the wrong declaration and does not contain the example request."""
    found = problems(schema=SCHEMA.replace("quarantined: Bool", "quarantined: String"), rules="")
    assert len(found) == 1
    assert found[0].startswith("schema.cedarschema: does not fit Firstboot's requests: ")
    assert "attribute `quarantined`" in found[0]
    assert "[{" not in found[0]


def test_the_schema_may_be_wider() -> None:
    """The schema may have more optional attributes, more types, and an attribute of ours as optional."""
    wider = SCHEMA.replace("site?: String", "site?: String, tags?: Set<String>, inner?: {a: Long}")
    assert fleet(schema=wider + "entity User;")
    assert fleet(schema=SCHEMA.replace("roleAlias: String", "roleAlias?: String"))
