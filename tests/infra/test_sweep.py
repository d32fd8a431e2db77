"""The rules that start a sweep, and what its Lambda may change."""

from __future__ import annotations

from typing import Any

import pytest

from firstboot.register import sweep
from tests.infra.conftest import Synthesised, spell, spelled
from tests.infra.test_functions import ours, statements

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")


def rule(stack: Synthesised, name: str) -> dict[str, Any]:
    """Return an EventBridge rule's properties, spelled."""
    properties: dict[str, Any] = spelled(stack.resources("AWS::Events::Rule")[name]["Properties"])
    return properties


@pytest.mark.parametrize("name", ["SweepEveryMinute", "SweepPublished"])
def test_a_rule_invokes_the_sweep(stack: Synthesised, name: str) -> None:
    """Each rule has the sweep as its only target and may invoke it."""
    (target,) = rule(stack, name)["Targets"]
    assert target["Arn"] == "${Sweep.Arn}"
    permissions = [
        spelled(made["Properties"]) for made in stack.resources("AWS::Lambda::Permission").values()
    ]
    allowed = [made for made in permissions if made["SourceArn"] == f"${{{name}.Arn}}"]
    assert [(made["FunctionName"], made["Principal"]) for made in allowed] == [
        ("${Sweep.Arn}", "events.amazonaws.com")
    ]


def test_every_minute_has_a_run(stack: Synthesised) -> None:
    """The schedule starts a run each minute."""
    assert rule(stack, "SweepEveryMinute")["ScheduleExpression"] == "rate(1 minute)"


def test_a_published_fleet_is_noticed_at_once(stack: Synthesised) -> None:
    """The bucket sends its events to EventBridge, where the rule matches the published fleet's key only."""
    (bucket,) = stack.resources("AWS::S3::Bucket").values()
    assert bucket["Properties"]["NotificationConfiguration"]["EventBridgeConfiguration"] == {
        "EventBridgeEnabled": True
    }
    assert rule(stack, "SweepPublished")["EventPattern"] == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": ["${Store}"]}, "object": {"key": ["fleet/published.json"]}},
    }


def test_the_sweep_writes_one_row(stack: Synthesised) -> None:
    """The sweep may write its own row and no device record."""
    (writing,) = [each for each in statements(stack, "Sweep") if each["Action"] == "dynamodb:PutItem"]
    assert writing["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["SWEEP"]}}


def test_a_run_is_dead_before_the_next_may_begin(stack: Synthesised) -> None:
    """A run holds the sweep for longer than Lambda lets it run, and for less than a minute."""
    timeout = ours(stack)["Sweep"]["Timeout"]
    assert sweep.WORK_SECONDS < timeout == sweep.RUN_SECONDS < sweep._HELD.total_seconds() < 60


def test_five_failed_runs_ring(stack: Synthesised) -> None:
    """Five runs in five minutes whose AWS calls fail ring the alarm."""
    alarm = spelled(stack.resources("AWS::CloudWatch::Alarm")["AlarmsSweepUnavailable"]["Properties"])
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Threshold"]) == ("Firstboot", "SweepFailed", 5)
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "register"}]
    assert [spell(action) for action in alarm["AlarmActions"]] == ["${AlarmsTopic}"]
