"""`console preflight` over moto. Lambda is a stand-in, because moto has no settings of a new account."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner, Result

from console import cloud
from console.__main__ import app

PARAMETER = "/cdk-bootstrap/hnb659fds/version"


class Account:
    """An account with a bootstrap stack and 1,000 executions, for tests to change."""

    def __init__(self, folder: Path) -> None:
        self.executions: int | None = 1_000
        self.settings = folder / "cdk.json"
        self.settings.write_text(Path("cdk.json").read_text())
        self.ssm: Any = boto3.client("ssm")
        self.put(PARAMETER, "28")

    def put(self, name: str, value: str) -> None:
        """Write a parameter."""
        self.ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def client(self, service: str) -> Any:
        """Return the client that the console gets for a service."""
        return self.ssm if service == "ssm" else SimpleNamespace(get_account_settings=self._settings)

    def _settings(self) -> Any:
        if self.executions is None:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "Any")
        return {"AccountLimit": {"ConcurrentExecutions": self.executions}}

    def examine(self) -> Result:
        """Run the command."""
        return CliRunner().invoke(app, ["preflight", "--settings", str(self.settings)])


@pytest.fixture
def account(aws: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """Return the account."""
    made = Account(tmp_path)
    monkeypatch.setattr(cloud, "client", made.client)
    return made


def test_a_prepared_account(account: Account) -> None:
    """An account with CDK's bootstrap stack and enough concurrency may be deployed into."""
    result = account.examine()
    assert result.exit_code == 0, result.output
    assert "ok      CDK's bootstrap stack: version 28" in result.stdout
    assert "ok      Lambda's concurrency: the account has 1,000" in result.stdout


def test_a_new_account_is_told_the_value_to_set(account: Account) -> None:
    """A new account with ten executions fails with the setting and its value."""
    account.executions = 10
    result = account.examine()
    assert result.exit_code == 1
    assert "set mqttConcurrency to 0" in result.stdout


def test_an_account_without_a_bootstrap_stack_fails(account: Account) -> None:
    """A missing bootstrap stack fails, and so does an old one under the qualifier of cdk.json."""
    account.ssm.delete_parameter(Name=PARAMETER)
    assert "there is none; version 6 is needed: run cdk bootstrap" in account.examine().stdout
    settings = json.loads(account.settings.read_text())
    settings["context"]["@aws-cdk/core:bootstrapQualifier"] = "other"
    account.settings.write_text(json.dumps(settings))
    account.put("/cdk-bootstrap/other/version", "5")
    result = account.examine()
    assert result.exit_code == 1
    assert "version 5; version 6 is needed" in result.stdout


def test_what_aws_does_not_tell_is_unknown(account: Account) -> None:
    """A refused call is no reason against a deployment."""
    account.executions = None
    result = account.examine()
    assert result.exit_code == 0
    assert "unknown Lambda's concurrency" in result.stdout
