"""`console fleet report` with a deployed stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber
from typer.testing import CliRunner

from console import cloud
from console.__main__ import app

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    ],
}
SIGN = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:Sign", "Resource": "*"}]}
TEMPLATE = {
    "Resources": {
        "Signer": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": TRUST,
                "Policies": [{"PolicyName": "Sign", "PolicyDocument": SIGN}],
            },
        },
        "Other": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": TRUST}},
    }
}


STACK_ID = "arn:aws-us-gov:cloudformation:us-gov-west-1:210987654321:stack/Mine/0"


@pytest.fixture
def stack(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """Stub CloudFormation's client. moto's CloudFormation needs packages that no other test needs."""
    client = boto3.client("cloudformation", region_name="us-gov-west-1")
    monkeypatch.setattr(cloud, "client", lambda _: client)
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def known(stubber: Stubber) -> None:
    """Have CloudFormation describe the stack Mine and return its template as text, which boto3 parses."""
    described = {
        "StackName": "Mine",
        "StackId": STACK_ID,
        "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
        "StackStatus": "CREATE_COMPLETE",
    }
    stubber.add_response("describe_stacks", {"Stacks": [described]}, {"StackName": "Mine"})
    wanted = {"StackName": "Mine", "TemplateStage": "Original"}
    stubber.add_response("get_template", {"TemplateBody": json.dumps(TEMPLATE)}, wanted)


def test_a_report_reads_the_deployed_template(stack: Stubber, tmp_path: Path) -> None:
    """The report has the stack's roles and signers, and policies rendered for its region and account."""
    known(stack)
    file = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["fleet", "report", "--html", str(file), "--stack", "Mine", "--json"])
    assert (done.exit_code, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert (summary["stack"], summary["signers"]) == ("Mine", ["Signer"])
    text = file.read_text()
    assert "arn:aws-us-gov:iot:us-gov-west-1:210987654321:" in text
    assert "Left out" not in text


def test_a_stack_that_cannot_be_read_is_left_out(stack: Stubber, tmp_path: Path) -> None:
    """If the stack cannot be read, the page and standard error say why, and the page is written."""
    stack.add_client_error("describe_stacks", "ValidationError", "Stack with id Missing does not exist")
    file = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["fleet", "report", "--html", str(file), "--stack", "Missing"])
    assert done.exit_code == 0
    assert "there is no stack named Missing in us-gov-west-1" in done.stderr
    assert "Left out: there is no stack named Missing in us-gov-west-1" in file.read_text()
    assert "may sign" not in done.stdout


def test_a_broken_folder_has_no_report(tmp_path: Path) -> None:
    """A folder that the compiler refuses has no report, and no file is written."""
    (tmp_path / "fleet").mkdir()
    file = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["fleet", "report", str(tmp_path / "fleet"), "--html", str(file)])
    assert done.exit_code == 1
    assert "fleet-invalid" in done.stderr
    assert not file.exists()
