"""A synth fails on each thing that AWS would refuse during the deployment, and names the number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra import bundling
from infra.configuration import Target
from infra.limits import LIMITS, Template, exceeded
from infra.measure import Measure
from tests.infra.conftest import Synthesised
from tests.infra.test_construct import EXAMPLE, SYNTH, run

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

Json = dict[str, Any]


def template(**sections: Any) -> Template:
    """Return a template with these sections."""
    body = {"Resources": {}} | sections
    return Template(body, len(json.dumps(body)), "Firstboot")


def resources(kind: str, *properties: Json) -> Template:
    """Return a template with resources of a type, called A0, A1, …"""
    made = {f"A{number}": {"Type": kind, "Properties": each} for number, each in enumerate(properties)}
    return template(Resources=made)


def policy(characters: int) -> Json:
    """Return a policy document with this many characters that count, and white space that does not."""
    empty = {"Statement": [], "Sid": ""}
    return empty | {"Sid": " x" * (characters - len('{"Statement":[],"Sid":""}'))}


EMPTY: Json = {"Ref": "A0"}
EXCEEDING: dict[str, tuple[Template, int]] = {
    "resources": (resources("AWS::SNS::Topic", *[{}] * 501), 501),
    "outputs": (template(Outputs=dict.fromkeys(map(str, range(201)))), 201),
    "parameters": (template(Parameters=dict.fromkeys(map(str, range(201)))), 201),
    "bytes": (Template({"Resources": {}}, 1_000_001, "Firstboot"), 1_000_001),
    "bytes of description": (template(Description="é" * 513), 1_026),
    "characters of logical id": (template(Resources={"A" * 256: {"Type": "AWS::SNS::Topic"}}), 256),
    "bytes of environment": (
        resources("AWS::Lambda::Function", {"Environment": {"Variables": {"A": "x" * 4_089}}}),
        4_097,
    ),
    "characters of function description": (
        resources("AWS::Lambda::Function", {"Description": "x" * 257}),
        257,
    ),
    "characters of role description": (resources("AWS::IAM::Role", {"Description": "x" * 1_001}), 1_001),
    "bytes of resource policy": (
        resources("AWS::Lambda::Permission", *[{"FunctionName": "f", "SourceArn": "x" * 690}] * 20),
        20_500,
    ),
    "characters of inline policies": (
        resources(
            "AWS::IAM::Role",
            {"Policies": [{"PolicyDocument": policy(5_121)}, {"PolicyDocument": policy(5_120)}]},
        ),
        10_241,
    ),
    "characters of policy": (resources("AWS::IAM::ManagedPolicy", {"PolicyDocument": policy(6_145)}), 6_145),
    "managed policies": (resources("AWS::IAM::Role", {"ManagedPolicyArns": ["arn"] * 11}), 11),
    "characters of trust policy": (
        resources("AWS::IAM::Role", {"AssumeRolePolicyDocument": policy(2_049)}),
        2_049,
    ),
    "characters of role name": (resources("AWS::IAM::Role", {"RoleName": "x" * 65}), 65),
    "seconds of session": (resources("AWS::IAM::Role", {"MaxSessionDuration": 43_201}), 43_201),
    "routes": (resources("AWS::ApiGatewayV2::Route", *[{"ApiId": EMPTY}] * 301), 301),
    "integrations": (resources("AWS::ApiGatewayV2::Integration", *[{"ApiId": EMPTY}] * 301), 301),
    "bytes of bucket policy": (
        resources("AWS::S3::BucketPolicy", {"PolicyDocument": {"Sid": "x" * 20_471}}),
        20_481,
    ),
    "bytes of key policy": (resources("AWS::KMS::Key", {"KeyPolicy": {"Sid": "x" * 32_759}}), 32_769),
    "bytes of rule": (
        resources("AWS::IoT::TopicRule", {"TopicRulePayload": {"Sql": "x" * 262_135}}),
        262_145,
    ),
    "characters of rule name": (resources("AWS::IoT::TopicRule", {"RuleName": "x" * 129}), 129),
    "characters of alarm name": (resources("AWS::CloudWatch::Alarm", {"AlarmName": "x" * 256}), 256),
    "characters of alarm description": (
        resources("AWS::CloudWatch::Alarm", {"AlarmDescription": "x" * 1_025}),
        1_025,
    ),
    "characters of queue name": (resources("AWS::SQS::Queue", {"QueueName": "x" * 81}), 81),
    "bytes of parameter": (resources("AWS::SSM::Parameter", {"Value": "x" * 4_097}), 4_097),
}


def test_the_table_has_each_limit_once() -> None:
    """Each limit has a name of its own and a case in these tests."""
    assert sorted(limit.name for limit in LIMITS) == sorted(EXCEEDING)


@pytest.mark.parametrize("name", EXCEEDING)
def test_what_exceeds_a_limit_is_named_with_its_number(name: str) -> None:
    """The message has the size, the limit and AWS's page."""
    made, size = EXCEEDING[name]
    (found,) = [each for each in exceeded(made) if each.limit.name == name]
    assert found.size == size
    assert f"{size:,} {name}; at most {found.limit.most:,} ({found.limit.page})" in str(found)


def test_a_roles_inline_policies_count_together() -> None:
    """A role's own policies and those that are attached to it beside it have one limit."""
    made = template(
        Resources={
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {"Policies": [{"PolicyDocument": policy(6_000)}]},
            },
            "More": {
                "Type": "AWS::IAM::Policy",
                "Properties": {"Roles": [{"Ref": "Role"}], "PolicyDocument": policy(6_000)},
            },
        }
    )
    (found,) = exceeded(made)
    assert str(found).startswith("Role: 12,000 characters of inline policies; at most 10,240")


@pytest.mark.parametrize(
    ("value", "longest"),
    [
        ("text", 4),
        ({"Ref": "AWS::Region"}, 16),
        ({"Ref": "AWS::StackName"}, len("Firstboot")),
        ({"Ref": "Role"}, 28),
        ({"Fn::GetAtt": ["Role", "Arn"]}, 50 + 28),
        ({"Fn::GetAtt": ["Authority", "CaCertificate"]}, 1_000),
        ({"Fn::Join": ["-", ["a", {"Ref": "AWS::AccountId"}, "b"]]}, 16),
        ({"Fn::If": ["condition", "short", "longer"]}, 6),
        ({"Fn::Sub": "a${AWS::Region}"}, 15 + 128),
        ({"Ref": "BootstrapVersion"}, 128),
        ([1, {"Ref": "AWS::Partition"}], len('[1,"xxxxxxxxxx"]')),
    ],
)
def test_a_value_is_measured_at_its_longest(value: Any, longest: int) -> None:
    """A value that is known only when it is deployed counts with the greatest length that it may have."""
    body = {"Resources": {"Role": {"Type": "AWS::IAM::Role"}, "Authority": {"Type": "Custom::Authority"}}}
    assert Measure(body, "Firstboot").size(value) == longest


def test_the_stack_is_within_all_limits(
    stack: Synthesised, mtls_stack: Synthesised, retained_stack: Synthesised
) -> None:
    """The templates of this project exceed no limit."""
    for each in (stack, mtls_stack, retained_stack):
        path = each.folder / "Firstboot.template.json"
        assert exceeded(Template(each.template, path.stat().st_size, "Firstboot")) == []


def test_a_limit_fails_the_synth_of_any_app(tmp_path: Path) -> None:
    """In another app, a function beside Firstboot whose environment is too large fails the synth."""
    careless = (
        "from aws_cdk import aws_lambda\n"
        "for made in app.node.find_all():\n"
        "    if isinstance(made, aws_lambda.Function) and made.node.id == 'Vend':\n"
        "        made.add_environment('MORE', 'x' * 5_000)\n"
    )
    done = run(tmp_path, EXAMPLE.replace(SYNTH, careless + SYNTH))
    assert done.returncode != 0
    assert "bytes of environment; at most 4,096 (Lambda developer guide" in done.stdout + done.stderr


def test_an_asset_that_lambda_would_refuse_fails_the_bundling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bundling fails with the size of an asset that is too large."""
    monkeypatch.setattr(bundling, "_install", lambda whole, *_: (whole / "a.py").write_bytes(b"#" * 1_000))
    monkeypatch.setattr(bundling, "_MOST_BYTES", 999)
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions/a.py").touch()
    empty = type("Empty", (), {"to_json": lambda _: "{}"})()
    with pytest.raises(ValueError, match="1,002 bytes unzipped, and Lambda takes at most 999"):
        bundling.bundle(tmp_path / "out", Target.LOCAL, empty, tmp_path / "functions")
