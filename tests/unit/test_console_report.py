"""What the security reviewer's report gathers, and from what."""

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
    """The report on the example fleet."""
    return gather(load(Path("fleet")), PLACE, NOW, None, "not asked")


def cell(report: Report, group: str, grant: str) -> Cell:
    """What is told of a group and a grant."""
    return next(each for each in report.cells if (each.group, each.grant) == (group, grant))


def test_what_a_new_device_holds_is_what_the_rules_decide(example: Report) -> None:
    """A gateway sends telemetry at once; a sensor, which has no site yet, only may one day."""
    assert cell(example, "gateways", "telemetry").new == {"telemetry": ("gateway-telemetry",)}
    assert cell(example, "sensors", "telemetry").new == {}
    assert cell(example, "sensors", "mqtt").new == {MQTT: ("own-topics",)}


def test_every_rule_that_could_matter_is_named(example: Report) -> None:
    """Those whose scope has the group and the grant, or names neither; permits and forbids apart."""
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
    """Of one device's rule nobody knows the group beforehand: it is told of every one."""
    rules = f'@id("one") permit ({scope}, action == Action::"hold", resource is Grant);'
    (rule,) = scopes.rules(replace(example.fleet, rules=rules))
    assert rule.groups == groups


def test_more_than_ten_rules_keep_their_order() -> None:
    """Cedar's own numbering as text would put the eleventh third."""
    rules = "".join(
        f'@id("rule-{n}") permit (principal, action == Action::"hold", resource == Grant::"telemetry");\n'
        for n in range(12)
    )
    found = scopes.rules(fleet_folders.fleet(rules=rules))
    assert [rule.id for rule in found] == [f"rule-{n}" for n in range(12)]


def test_a_rules_text_is_what_cedar_reads() -> None:
    """A comment that says otherwise is not in it."""
    rules = fleet_folders.RULES.replace("permit (", "permit ( // nobody\n")
    (rule,) = scopes.rules(fleet_folders.fleet(rules=rules))
    assert "nobody" not in rule.text
    assert rule.text.startswith('@id("all-telemetry")\npermit (')


def test_policies_are_rendered_where_the_stack_is(example: Report) -> None:
    """For every grant a session policy, an AWS IoT policy if it is about AWS IoT, the rest of both once."""
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
    """What fits for the sample must fit for every device."""
    policy = next(each for each in example.policies if each.name == "telemetry")
    longer = 64 - len("sample-device")
    text = str(policy.document).replace("': ", "':").replace(", ", ",")
    assert policy.characters == len(text) + longer


def test_a_fleet_without_grants_has_a_report() -> None:
    """It grants nothing, and says so."""
    made = gather(fleet_folders.fleet(grants={}, rules=""), PLACE, NOW, None)
    assert (made.cells, made.summary()["grants"]) == ([], 0)


def test_an_anchor_that_is_over_is_told() -> None:
    """The verifier refuses what chains to it; the compiler does not ask the time."""
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
    """Whoever is allowed kms:Sign in any way IAM has to say it, in a role's own or an attached policy."""
    policy = {"PolicyDocument": {"Statement": [statement | {"Resource": "*"}]}}
    inline = {"Type": ROLE["Type"], "Properties": ROLE["Properties"] | {"Policies": [policy]}}
    attached = {"Type": "AWS::IAM::Policy", "Properties": policy | {"Roles": [{"Ref": "Attached"}]}}
    resources = {"Inline": inline, "Attached": ROLE, "Policy": attached, "Other": ROLE}
    found = template.roles({"Resources": resources})
    assert {role.name for role in found if role.signs} == ({"Inline", "Attached"} if signs else set())


def test_a_keys_policy_names_its_signers() -> None:
    """An account in it stands for whom the account's own policies let sign."""
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": [{"Fn::GetAtt": ["A", "Arn"]}, "x"]}, "Action": "kms:Sign"},
        {"Effect": "Allow", "Principal": {"AWS": "root"}, "Action": "kms:Describe*"},
    ]
    key = {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Statement": statements}}}
    (found,) = template.keys({"Resources": {"Key": key}})
    assert found.signers == ("${A.Arn}", "x")
