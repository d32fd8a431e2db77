"""The steps that only AWS can take judge answers that have the form of AWS's API references."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from console.diagnosis import Level, Need
from device.refusal import Action, Refused
from verify.bench import Bench
from verify.step import Failed
from verify.steps import STEPS, account, queue, refusals

_QUOTAS = {
    "list_aws_default_service_quotas": [
        {"QuotaCode": "L-1", "QuotaName": "Throttle rate", "Value": 10_000.0},
        {"QuotaCode": "L-2", "QuotaName": "Other", "Value": 1.0},
    ],
    "list_service_quotas": [{"QuotaCode": "L-1", "QuotaName": "Throttle rate", "Value": 2_500.0}],
}


class Aws:
    """Clients of AWS with these quotas and this number of stopped invocations."""

    deployed = SimpleNamespace(template={})

    def __init__(self, quotas: dict[str, Any], stopped: float = 0.0) -> None:
        self._quotas = quotas
        self._stopped = stopped

    def client(self, _: str) -> Aws:
        """Return the client of any service."""
        return self

    def outputs(self, name: str) -> str:
        """Return an output of the stack."""
        return name

    def get_paginator(self, operation: str) -> Any:
        """Return the pages of an operation of Service Quotas."""
        return SimpleNamespace(paginate=lambda **_: [{"Quotas": self._quotas[operation]}])

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        """Return a queue's ARN."""
        return {"Attributes": {"QueueArn": "arn:aws:sqs:us-east-1:123456789012:queue"}}

    def list_event_source_mappings(self, **_: Any) -> dict[str, Any]:
        """Return the function behind a queue."""
        return {
            "EventSourceMappings": [{"FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:work"}]
        }

    def get_metric_statistics(self, **asked: Any) -> dict[str, Any]:
        """Return the sums of a metric of the function."""
        assert asked["Dimensions"] == [{"Name": "FunctionName", "Value": "work"}]
        return {"Datapoints": [{"Sum": self._stopped}]}

    def get_function_recursion_config(self, **_: Any) -> dict[str, Any]:
        """Return whether Lambda stops recursions."""
        return {"RecursiveLoop": "Terminate"}


def measured(step: Any, aws: Aws) -> list[str]:
    """Return what a step measures."""
    return [str(each) for each in step(cast("Bench", aws))]


def _need(monkeypatch: pytest.MonkeyPatch, code: str = "L-1", quota: str = "Throttle rate") -> None:
    need = Need("apigateway", code, quota, 100, Level.FAIL)
    monkeypatch.setattr(account, "needs", lambda _: [need])


def test_a_quota_has_its_code_and_the_account_s_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk measures each quota that the doctor judges, with its code and the account's own value."""
    _need(monkeypatch)
    assert measured(account.quotas, Aws(_QUOTAS)) == ["apigateway L-1 Throttle rate: 2,500"]


@pytest.mark.parametrize(("code", "name"), [("L-9", "Throttle rate"), ("L-1", "Rate of throttles")])
def test_a_quota_is_found_by_its_code_or_its_name(
    monkeypatch: pytest.MonkeyPatch, code: str, name: str
) -> None:
    """The walk finds a quota if the doctor knows its code or its name."""
    _need(monkeypatch, code, name)
    assert measured(account.quotas, Aws(_QUOTAS)) == ["apigateway L-1 Throttle rate: 2,500"]


def test_a_quota_that_aws_does_not_name_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota with another code and name than the doctor's fails, because the doctor would not find it."""
    _need(monkeypatch)
    with pytest.raises(Failed, match="Throttle rate"):
        measured(account.quotas, Aws({name: [] for name in _QUOTAS}))


def test_a_stopped_recursion_fails() -> None:
    """An invocation that Lambda stopped for a recursion fails the step, and none passes."""
    assert measured(queue.recursion, Aws({})) == [
        "recursive loops: Terminate",
        "invocations that Lambda stopped in 14 days: 0",
    ]
    with pytest.raises(Failed, match="no stopped invocation, saw 2"):
        measured(queue.recursion, Aws({}, stopped=2.0))


def test_the_emulator_s_page_names_existing_steps() -> None:
    """Each step that docs/emulator.md names exists."""
    text = (Path(__file__).parents[2] / "docs/emulator.md").read_text()
    lists = re.findall(r'steps? ((?:"[^"]+"(?:, | and )?)+)', text)
    named = {name for names in lists for name in re.findall('"([^"]+)"', names)}
    assert len(named) > 10
    assert named <= {step.name for step in STEPS}


class Racing:
    """A service that answers simultaneous enrollments: a conflict, then one certificate, then refusals."""

    def __init__(self) -> None:
        self._answers: list[Refused | None] = [
            Refused(Action.WAIT, "no", code="enrollment-in-progress", retry_after=900),
            Refused(Action.WAIT, "no", code="enrollment-in-progress", retry_after=900),
            Refused(Action.WAIT, "no", code="enrollment-in-progress", retry_after=900),
            None,
            Refused(Action.RETRY, "no", code="unavailable", retry_after=0),
        ]

    def enroll(self, *_: object) -> None:
        """Give the next answer."""
        if answer := self._answers.pop():
            raise answer


@pytest.mark.parametrize("objects", [1, 2])
def test_simultaneous_requests_get_one_certificate(objects: int) -> None:
    """Simultaneous requests that meet are repeated and counted, and a second certificate is a failure."""
    unit = SimpleNamespace(name="a", bootstrap=None, service=Racing())
    bench = SimpleNamespace(
        unit=lambda: unit,
        outputs=str,
        client=lambda _: SimpleNamespace(list_objects_v2=lambda **_: {"KeyCount": objects}),
        deployed=SimpleNamespace(place=SimpleNamespace(account="123456789012")),
    )
    found: list[str] = []
    expected = [
        "a certificate: 1",
        "enrollment-in-progress: 3",
        "repeated after unavailable: 1",
        f"certificates in S3: {objects}",
    ]
    with nullcontext() if objects == 1 else pytest.raises(Failed, match="one certificate, saw 1 answers, 2"):
        found.extend(str(each) for each in refusals.at_once(cast("Bench", bench)))
    assert found == expected


def test_the_readme_s_deployment_ends_with_the_walk() -> None:
    """The last command of the README's section on deploying is the walk."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    section = text.partition("## Deploy it")[2].partition("\n## ")[0]
    assert section.rstrip().endswith("```")
    assert "make verify-aws STACK=" in section.rpartition("```sh")[2]
