"""The security reviewer's report agrees with the rules, the policies and the template."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from console import scopes, template
from console.report import MQTT, Cell, Report, gather
from firstboot.compiler.fleet import load
from firstboot.policy import limits
from firstboot.policy.render import Place
from tests.unit import fleet_folders

PLACE = Place("aws-cn", "cn-north-1", "210987654321")
NOW = datetime(2026, 11, 22, tzinfo=UTC)

ROLE: dict[str, Any] = {
    "Type": "AWS::IAM::Role",
    "Properties": {"AssumeRolePolicyDocument": {"Statement": {"Effect": "Allow", "Principal": "*"}}},
}


@pytest.fixture(scope="module")
def example() -> Report:
    """Return the report on the example fleet."""
    return gather(load(Path("fleet")), PLACE, NOW, None, "not asked")


def cell(report: Report, group: str, grant: str) -> Cell:
    """Return the report's cell for a group and a grant."""
    return next(each for each in report.cells if (each.group, each.grant) == (group, grant))


def test_what_a_new_device_holds_is_what_the_rules_decide(example: Report) -> None:
    """A new gateway holds telemetry, and a new sensor, which has no site yet, does not."""
    assert cell(example, "gateways", "telemetry").new == {"telemetry": ("gateway-telemetry",)}
    assert cell(example, "sensors", "telemetry").new == {}
    assert cell(example, "sensors", "mqtt").new == {MQTT: ("own-topics",)}


def test_every_rule_that_could_matter_is_named(example: Report) -> None:
    """A cell names each permit and each forbid whose scope allows the group and the grant."""
    telemetry = cell(example, "sensors", "telemetry")
    assert telemetry.permits == ("sensor-telemetry",)
    assert telemetry.forbids == ("quarantine", "no-telemetry-from-1-4-2-rc1")
    assert cell(example, "gateways", "mqtt").forbids == ("quarantine",)


@pytest.mark.parametrize(
    ("scope", "groups"),
    [
        ("principal", ("gateways", "sensors")),
        ('principal in Group::"sensors"', ("sensors",)),
        ('principal is Device in Group::"sensors"', ("sensors",)),
        ("principal is Device", ("gateways", "sensors")),
        ('principal == Device::"dev-1"', ("gateways", "sensors")),
        ('principal in Device::"dev-1"', ("gateways", "sensors")),
    ],
)
def test_a_scope_that_may_be_about_a_group_is(example: Report, scope: str, groups: tuple[str, ...]) -> None:
    """A rule is listed for each group that its scope allows, and for all groups if it names one device."""
    rules = f'@id("one") permit ({scope}, action == Action::"hold", resource is Grant);'
    (rule,) = scopes.rules(replace(example.fleet, rules=rules))
    assert rule.groups == groups


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        ('when { principal.claims has fw && principal.claims.fw == "1" }', True),
        ('unless { principal["claims"] has fw }', True),
        ("when { principal has claims.fw }", True),
        ('when { Device::"dev-1".claims has fw }', True),
        ('when { principal.quarantined } unless { {"x": principal}.x.claims has fw }', True),
        ("when { if principal.quarantined then true else principal.claims has fw }", True),
        ("", False),
        ('when { principal.quarantined && "claims" == "claims" }', False),
        ('when { context.roleAlias == "claims" }', False),
    ],
)
def test_a_rule_that_reads_claims_is_found(example: Report, condition: str, reads: bool) -> None:  # noqa: FBT001
    """A rule reads claims if any of its conditions has the attribute, however the rule is written."""
    rules = f'@id("one") forbid (principal, action, resource) {condition};'
    fleet = replace(example.fleet, rules=rules)
    assert scopes.rules(fleet)[0].reads_claims is reads
    assert scopes.forbids_by_claim(fleet) == (["one"] if reads else [])


def test_more_than_ten_rules_keep_their_order() -> None:
    """Rules are in the order of the file, not in the alphabetical order of Cedar's numbers."""
    rules = "".join(
        f'@id("rule-{n}") permit (principal, action == Action::"hold", resource == Grant::"telemetry");\n'
        for n in range(12)
    )
    found = scopes.rules(fleet_folders.fleet(rules=rules))
    assert [rule.id for rule in found] == [f"rule-{n}" for n in range(12)]


def test_a_rules_text_is_what_cedar_reads() -> None:
    """A rule's text is without comments."""
    rules = fleet_folders.RULES.replace("permit (", "permit ( // forbid\n")
    (rule,) = scopes.rules(fleet_folders.fleet(rules=rules))
    assert "forbid" not in rule.text
    assert rule.text.startswith('@id("all-telemetry")\npermit (')


def test_policies_are_rendered_where_the_stack_is(example: Report) -> None:
    """The report has the session policies, the AWS IoT policies, and the ceiling of the fleet roles."""
    found = {(policy.name, policy.kind): policy for policy in example.policies}
    assert {name for name, kind in found if kind == "AWS IoT policy"} == {"mqtt"}
    assert {name for name, kind in found if kind == "STS session policy"} == {
        *example.fleet.grants,
        "all grants at once",
    }
    session = found["telemetry", "STS session policy"]
    assert session.document["Statement"][0]["Resource"] == (
        "arn:aws-cn:s3:::acme-telemetry-210987654321-cn-north-1/sample-device/*"
    )
    assert session.characters < session.limit == limits.SESSION_POLICY
    ceiling = found["every role alias", "ceiling of the fleet roles"]
    assert ceiling.limit == limits.ROLE_POLICY


def test_a_size_is_that_of_the_longest_device_id(example: Report) -> None:
    """The size of a policy is its size with the longest device id."""
    policy = next(each for each in example.policies if each.name == "telemetry")
    longer = 64 - len("sample-device")
    text = str(policy.document).replace("': ", "':").replace(", ", ",")
    assert policy.characters == len(text) + longer


def test_a_fleet_without_grants_has_a_report() -> None:
    """A fleet without grants has a report without cells."""
    made = gather(fleet_folders.fleet(grants={}, rules=""), PLACE, NOW, None)
    assert (made.cells, made.summary()["grants"]) == ([], 0)


def test_an_expired_anchor_is_marked() -> None:
    """An anchor is marked as invalid after its end, which the compiler does not check."""
    after = datetime(2126, 1, 1, tzinfo=UTC)
    (anchor,) = gather(fleet_folders.fleet(), PLACE, after, None).anchors
    assert not anchor.is_valid
    (anchor,) = gather(fleet_folders.fleet(), PLACE, datetime.now(UTC), None).anchors
    assert anchor.is_valid
    assert len(anchor.sha256) == 64


@pytest.mark.parametrize(
    ("statement", "signs"),
    [
        ({"Effect": "Allow", "Action": "kms:Sign"}, True),
        ({"Effect": "Allow", "Action": ["s3:GetObject", "kms:S*"]}, True),
        ({"Effect": "Allow", "Action": "KMS:sign"}, True),
        ({"Effect": "Allow", "Action": "*"}, True),
        ({"Effect": "Allow", "NotAction": "s3:*"}, True),
        ({"Effect": "Allow", "NotAction": "kms:*"}, False),
        ({"Effect": "Allow", "Action": "kms:Verify"}, False),
        ({"Effect": "Deny", "Action": "kms:Sign"}, False),
    ],
)
def test_who_may_sign(statement: dict[str, object], *, signs: bool) -> None:
    """A role signs if its own or an attached policy allows kms:Sign, in any form that IAM accepts."""
    policy = {"PolicyDocument": {"Statement": [statement | {"Resource": "*"}]}}
    inline = {"Type": ROLE["Type"], "Properties": ROLE["Properties"] | {"Policies": [policy]}}
    attached = {"Type": "AWS::IAM::Policy", "Properties": policy | {"Roles": [{"Ref": "Attached"}]}}
    resources = {"Inline": inline, "Attached": ROLE, "Policy": attached, "Other": ROLE}
    found = template.roles({"Resources": resources})
    assert {role.name for role in found if role.signs} == ({"Inline", "Attached"} if signs else set())


def test_a_keys_policy_names_its_signers() -> None:
    """A key's signers are the principals of the statements that allow kms:Sign."""
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": [{"Fn::GetAtt": ["A", "Arn"]}, "x"]}, "Action": "kms:Sign"},
        {"Effect": "Allow", "Principal": {"AWS": "root"}, "Action": "kms:Describe*"},
    ]
    key = {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Statement": statements}}}
    (found,) = template.keys({"Resources": {"Key": key}})
    assert found.signers == ("${A.Arn}", "x")
