"""What brings messages to `register`, and what keeps those that failed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.infra.conftest import Synthesised, spell, synthesise
from tests.infra.test_functions import DEAD, RATE_LIMITED, STREAM, URGENT, ours

# One worker, one synthesis.
pytestmark = pytest.mark.xdist_group("infra")


def mappings(stack: Synthesised) -> dict[str, dict[str, Any]]:
    """The event source mappings' properties, by their source."""
    found = stack.resources("AWS::Lambda::EventSourceMapping").values()
    return {spell(each["Properties"]["EventSourceArn"]): each["Properties"] for each in found}


def queues(stack: Synthesised) -> dict[str, dict[str, Any]]:
    """The properties of register's queues, by their ARN."""
    found = stack.resources("AWS::SQS::Queue").items()
    ours = {name: queue for name, queue in found if name.startswith("Register")}
    return {f"${{{name}.Arn}}": queue["Properties"] for name, queue in ours.items()}


def test_s3_tells_the_rate_limited_queue_of_every_certificate(stack: Synthesised) -> None:
    """And of nothing else that is written to the bucket; S3 finds the queue open when it is told of it."""
    (bucket,) = stack.resources("AWS::S3::Bucket").values()
    (told,) = bucket["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    assert (told["Event"], spell(told["Queue"])) == ("s3:ObjectCreated:*", RATE_LIMITED)
    assert told["Filter"]["S3Key"]["Rules"] == [{"Name": "prefix", "Value": "certificates/"}]
    assert "RegisterQueuesPacedPolicy" in map(spell, bucket["DependsOn"])


def test_what_fails_five_times_is_kept_for_two_weeks(stack: Synthesised) -> None:
    """In one queue, whichever it came by; all are encrypted."""
    found = queues(stack)
    assert all(queue["SqsManagedSseEnabled"] for queue in found.values())
    assert found[DEAD]["MessageRetentionPeriod"] == 14 * 86_400
    for name in (RATE_LIMITED, URGENT):
        redrive = found[name]["RedrivePolicy"]
        assert (spell(redrive["deadLetterTargetArn"]), redrive["maxReceiveCount"]) == (DEAD, 5)


def test_a_message_stays_hidden_while_it_is_worked_on(stack: Synthesised) -> None:
    """Six times the Lambda's time, as Lambda's developer guide says of SQS."""
    seconds = ours(stack)["RegisterWork"]["Timeout"]
    for name in (RATE_LIMITED, URGENT):
        assert queues(stack)[name]["VisibilityTimeout"] >= 6 * seconds


@pytest.mark.parametrize("name", [RATE_LIMITED, URGENT])
def test_both_queues_are_worked_by_message(stack: Synthesised, name: str) -> None:
    """One bad message fails alone, and a storm takes no more Lambdas than AWS IoT can feed."""
    mapping = mappings(stack)[name]
    assert spell(mapping["FunctionName"]) == "${RegisterWork}"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] <= 10
    assert 2 <= mapping["ScalingConfig"]["MaximumConcurrency"] <= 10


def test_the_stream_brings_changes_of_devices_only(stack: Synthesised) -> None:
    """Old and new, changed and not new; what can't be told of is kept."""
    (table,) = stack.resources("AWS::DynamoDB::GlobalTable").values()
    assert table["Properties"]["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    mapping = mappings(stack)[STREAM]
    assert spell(mapping["FunctionName"]) == "${RegisterChanges}"
    (pattern,) = mapping["FilterCriteria"]["Filters"]
    assert json.loads(pattern["Pattern"]) == {
        "eventName": ["INSERT", "MODIFY"],
        "dynamodb": {"Keys": {"pk": {"S": [{"prefix": "DEV#"}]}}},
    }
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert spell(mapping["DestinationConfig"]["OnFailure"]["Destination"]) == DEAD
    assert mapping["MaximumRetryAttempts"] == 5
    assert mapping["BisectBatchOnFunctionError"]


def test_the_rate_is_below_the_quotas_and_the_deployers_to_set(
    stack: Synthesised, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two AttachPolicy a device, of 15 a second; one RegisterCertificate…, of 10."""
    told = ours(stack)["RegisterWork"]["Environment"]["Variables"]["FIRSTBOOT_IOT_RATE"]
    assert float(told) * 2 <= 15
    raised = synthesise(tmp_path_factory.mktemp("raised"), iotRate=40)
    assert float(ours(raised)["RegisterWork"]["Environment"]["Variables"]["FIRSTBOOT_IOT_RATE"]) == 40


@pytest.mark.parametrize(("metric", "threshold"), [("RegistrationAge", 6 * 3_600), ("InternalError", 1)])
def test_register_is_watched(stack: Synthesised, metric: str, threshold: int) -> None:
    """The alarm looks where the Lambda counts."""
    (alarm,) = (
        alarm["Properties"]
        for alarm in stack.resources("AWS::CloudWatch::Alarm").values()
        if alarm["Properties"].get("MetricName") == metric
        and alarm["Properties"]["Dimensions"] == [{"Name": "service", "Value": "register"}]
    )
    assert (alarm["Namespace"], alarm["Threshold"]) == ("Firstboot", threshold)


def test_a_dead_message_rings(stack: Synthesised) -> None:
    """One is enough."""
    alarm = stack.resources("AWS::CloudWatch::Alarm")["AlarmsRegistrationsDead"]["Properties"]
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert alarm["Threshold"] == 0
