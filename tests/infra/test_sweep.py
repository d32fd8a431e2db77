"""What begins a sweep, and what its Lambda may change."""

from __future__ import annotations

from typing import Any

import pytest

from firstboot.register import sweep
from tests.infra.conftest import Synthesised, spell, spelled
from tests.infra.test_functions import ours, statements

# One worker, one synthesis.
pytestmark = pytest.mark.xdist_group("infra")


def rule(stack: Synthesised, name: str) -> dict[str, Any]:
    """An EventBridge rule's properties, spelled."""
    properties: dict[str, Any] = spelled(stack.resources("AWS::Events::Rule")[name]["Properties"])
    return properties


@pytest.mark.parametrize("name", ["SweepEveryMinute", "SweepPublished"])
def test_a_rule_invokes_the_sweep(stack: Synthesised, name: str) -> None:
    """Both have the one target, and Lambda lets exactly these rules in."""
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
    """Which is what carries a long sweep on, and begins one each day and after each deployment."""
    assert rule(stack, "SweepEveryMinute")["ScheduleExpression"] == "rate(1 minute)"


def test_a_published_fleet_is_noticed_at_once(stack: Synthesised) -> None:
    """The bucket tells EventBridge, and of what it tells only the one key in this bucket counts."""
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
    """It reads every device's record and can change none."""
    (writing,) = [each for each in statements(stack, "Sweep") if each["Action"] == "dynamodb:PutItem"]
    assert writing["Condition"] == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["SWEEP"]}}


def test_a_run_is_dead_before_the_next_may_begin(stack: Synthesised) -> None:
    """What it holds is held for longer than it can live, and is free again a minute later."""
    timeout = ours(stack)["Sweep"]["Timeout"]
    assert sweep.WORK_SECONDS < timeout == sweep.RUN_SECONDS < sweep._HELD.total_seconds() < 60


def test_what_always_fails_rings(stack: Synthesised) -> None:
    """A run whose AWS calls fail ends quietly, and the next one tries; five in a row are an alarm."""
    alarm = spelled(stack.resources("AWS::CloudWatch::Alarm")["AlarmsSweepUnavailable"]["Properties"])
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Threshold"]) == ("Firstboot", "SweepFailed", 5)
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "register"}]
    assert [spell(action) for action in alarm["AlarmActions"]] == ["${AlarmsTopic}"]
