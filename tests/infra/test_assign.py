"""A fleet with token issuers has a custom authorizer, and a Lambda for it with few rights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import assign
from firstboot.assign.settings import AssignSettings
from tests.infra.conftest import ROOT, Synthesised, spell, synthesise
from tests.infra.test_functions import FLEET, ours, pairs, statements

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

ISSUER = """
[issuers.acme]
issuer = "https://id.example.com"
jwks = "https://id.example.com/jwks"
algorithms = ["ES256"]
groups = ["gateways"]
"""


@pytest.fixture(scope="module")
def token_stack(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Return the stack of the example fleet, whose gateways connect with tokens."""
    folder = tmp_path_factory.mktemp("tokens")
    shutil.copytree(ROOT / "fleet", folder / "fleet")
    definition = folder / "fleet" / "fleet.toml"
    text = definition.read_text()
    assert text.count('= "registry"') == 1
    definition.write_text(text.replace('= "registry"', '= "token"') + ISSUER)
    return synthesise(folder / "out", fleet=str(folder / "fleet"))


def test_without_issuers_there_is_no_authorizer(stack: Synthesised) -> None:
    """A fleet without token issuers has neither the authorizer nor its Lambda."""
    assert "Assign" not in ours(stack)
    assert not stack.resources("AWS::IoT::Authorizer")
    assert not {"AuthorizerName", "TokenAudience"} & stack.template["Outputs"].keys()


def test_the_authorizer(token_stack: Synthesised) -> None:
    """The authorizer asks the Lambda about each connection, and checks no signature itself."""
    (authorizer,) = token_stack.resources("AWS::IoT::Authorizer").values()
    properties = dict(authorizer["Properties"])
    assert spell(properties.pop("AuthorizerFunctionArn")) == "${Assign.Arn}"
    assert properties == {
        "AuthorizerName": "Firstboot",
        "EnableCachingForHttp": False,
        "SigningDisabled": True,
        "Status": "ACTIVE",
    }


def test_only_the_authorizer_invokes(token_stack: Synthesised) -> None:
    """The permission to invoke is bound to the authorizer's ARN, the one condition that AWS documents."""
    permissions = token_stack.resources("AWS::Lambda::Permission")
    (permission,) = (made["Properties"] for name, made in permissions.items() if name.startswith("Assign"))
    assert {name: spell(value) for name, value in permission.items()} == {
        "Action": "lambda:InvokeFunction",
        "FunctionName": "${Assign.Arn}",
        "Principal": "iot.amazonaws.com",
        "SourceArn": "${AssignAuthorizer.Arn}",
    }


def test_the_role_may_do_exactly_this(token_stack: Synthesised) -> None:
    """The role may read one table and the published fleet, and write its log and traces."""
    assert pairs(statements(token_stack, "Assign")) == {
        ("dynamodb:GetItem", "${Registry.Arn}"),
        ("s3:GetObject", FLEET),
        ("s3:ListBucket", "${Store.Arn}"),
        ("logs:CreateLogStream", "${AssignLogs.Arn}"),
        ("logs:PutLogEvents", "${AssignLogs.Arn}"),
        ("xray:PutTelemetryRecords", "*"),
        ("xray:PutTraceSegments", "*"),
    }
    assert all(statement["Effect"] == "Allow" for statement in statements(token_stack, "Assign"))


def test_the_lambda_ends_before_aws_iot_stops_waiting(token_stack: Synthesised) -> None:
    """The Lambda times out before AWS IoT stops waiting for it."""
    # AWS IoT developer guide, "Creating and managing custom authorizers": five seconds.
    function = ours(token_stack)["Assign"]
    assert function["Timeout"] < 5
    assert function["Handler"] == "assign.authorize"
    assert callable(assign.authorize)


def test_the_environment_round_trips_through_its_settings(token_stack: Synthesised) -> None:
    """The Lambda's environment has exactly the settings that its settings class reads."""
    variables = ours(token_stack)["Assign"]["Environment"]["Variables"]
    environment = {variable: json.dumps(value) for variable, value in variables.items()}
    assert AssignSettings.read(environment).environment() == environment


def test_the_audience_is_the_deployments_own(token_stack: Synthesised) -> None:
    """The audience that the Lambda demands names region, account and stack, and is an output."""
    outputs = token_stack.template["Outputs"]
    assert spell(outputs["TokenAudience"]["Value"]) == (
        "urn:firstboot:${AWS::Region}:${AWS::AccountId}:Firstboot"
    )
    audience = ours(token_stack)["Assign"]["Environment"]["Variables"]["FIRSTBOOT_AUDIENCE"]
    assert audience == outputs["TokenAudience"]["Value"]
    assert spell(outputs["AuthorizerName"]["Value"]) == "${AssignAuthorizer}"


def test_the_authorizers_alarms_are_added(stack: Synthesised, token_stack: Synthesised) -> None:
    """The Lambda has the alarms of all Lambdas, and alarms for failures that it answers with a refusal."""
    alarms = token_stack.resources("AWS::CloudWatch::Alarm")
    counted = {
        "AlarmsAssignFailures": "InternalError",
        "AlarmsAssignUnavailable": "Unavailable",
        "AlarmsAssignIssuerUnavailable": "IssuerUnavailable",
        "AlarmsPoliciesTooLarge": "PoliciesTooLarge",
    }
    added = set(alarms) - set(stack.resources("AWS::CloudWatch::Alarm"))
    assert added == {"AlarmsAssignErrors", "AlarmsAssignThrottles", *counted}
    for name, metric in counted.items():
        alarm = alarms[name]["Properties"]
        assert (alarm["Namespace"], alarm["MetricName"]) == ("Firstboot", metric)
        assert alarm["Dimensions"] == [{"Name": "service", "Value": "assign"}]
        assert [spell(action) for action in alarm["AlarmActions"]] == ["${AlarmsTopic}"]


def test_cfn_lint_finds_nothing(token_stack: Synthesised) -> None:
    """cfn-lint accepts the template with the authorizer."""
    command = [Path(sys.executable).with_name("cfn-lint"), token_stack.folder / "Firstboot.template.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
