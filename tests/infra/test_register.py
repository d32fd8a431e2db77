"""The event sources of `register`, and the queues of messages that failed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firstboot.register.slots import PATIENCE
from tests.infra.conftest import Synthesised, spell, synthesise
from tests.infra.test_functions import DEAD, LOST, LOST_DEAD, ORDERS, REGISTRATIONS, STREAM, ours

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")


def mappings(stack: Synthesised) -> dict[str, dict[str, Any]]:
    """Return the event source mappings' properties by their source."""
    found = stack.resources("AWS::Lambda::EventSourceMapping").values()
    return {spell(each["Properties"]["EventSourceArn"]): each["Properties"] for each in found}


def queues(stack: Synthesised) -> dict[str, dict[str, Any]]:
    """Return the properties of the queues of `register` by their ARN."""
    found = stack.resources("AWS::SQS::Queue").items()
    ours = {name: queue for name, queue in found if name.startswith("Register")}
    return {f"${{{name}.Arn}}": queue["Properties"] for name, queue in ours.items()}


def test_s3_notifies_the_queue_of_registrations_of_every_certificate(stack: Synthesised) -> None:
    """S3 sends an event for each certificate, and for no other object, once the queue's policy exists."""
    (bucket,) = stack.resources("AWS::S3::Bucket").values()
    (notification,) = bucket["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
    assert (notification["Event"], spell(notification["Queue"])) == ("s3:ObjectCreated:*", REGISTRATIONS)
    assert notification["Filter"]["S3Key"]["Rules"] == [{"Name": "prefix", "Value": "certificates/"}]
    assert "RegisterQueuesPacedPolicy" in map(spell, bucket["DependsOn"])


def test_a_message_that_failed_five_times_is_kept_for_two_weeks(stack: Synthesised) -> None:
    """A message that failed five times goes from each queue to one dead-letter queue."""
    found = queues(stack)
    assert all(queue["SqsManagedSseEnabled"] for queue in found.values())
    assert found[DEAD]["MessageRetentionPeriod"] == 14 * 86_400
    for name in ORDERS:
        assert found[name]["MessageRetentionPeriod"] == 14 * 86_400
        redrive = found[name]["RedrivePolicy"]
        assert (spell(redrive["deadLetterTargetArn"]), redrive["maxReceiveCount"]) == (DEAD, 5)


def test_a_message_stays_hidden_while_it_is_worked_on(stack: Synthesised) -> None:
    """The visibility timeout is six times the Lambda's, as its developer guide advises for SQS."""
    seconds = ours(stack)["RegisterWork"]["Timeout"]
    for name in ORDERS:
        assert queues(stack)[name]["VisibilityTimeout"] >= 6 * seconds


@pytest.mark.parametrize("name", ORDERS)
def test_each_queue_has_few_workers_with_one_order_each(stack: Synthesised, name: str) -> None:
    """A worker holds one order, which waits for its turn there, and few workers run at the same time."""
    mapping = mappings(stack)[name]
    assert spell(mapping["FunctionName"]) == "${RegisterWork}"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] == 1
    assert 2 <= mapping["ScalingConfig"]["MaximumConcurrency"] <= 10


def test_the_stream_brings_changes_of_devices_only(stack: Synthesised) -> None:
    """The stream sends new and changed device records, old and new image, and failed batches are kept."""
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
    assert spell(mapping["DestinationConfig"]["OnFailure"]["Destination"]) == LOST
    assert mapping["MaximumRetryAttempts"] == 5
    assert mapping["BisectBatchOnFunctionError"]


def test_the_rate_is_below_the_quotas_and_the_deployers_to_set(
    stack: Synthesised, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The default rate allows two AttachPolicy a device below the quota of 15 a second, and a deployer can
    raise it.
    """
    rate = ours(stack)["RegisterWork"]["Environment"]["Variables"]["FIRSTBOOT_IOT_RATE"]
    assert float(rate) * 2 <= 15
    raised = synthesise(tmp_path_factory.mktemp("raised"), iotRate=40)
    assert float(ours(raised)["RegisterWork"]["Environment"]["Variables"]["FIRSTBOOT_IOT_RATE"]) == 40


def test_a_chain_of_orders_is_not_stopped_by_lambda(stack: Synthesised) -> None:
    """Lambda lets `work` and `jitr` send messages to their own queues, which the code bounds."""
    allowed = {name for name, function in ours(stack).items() if "RecursiveLoop" in function}
    assert allowed == {"RegisterWork", "Newcomers"}
    assert ours(stack)["RegisterWork"]["RecursiveLoop"] == "Allow"


def test_a_worker_is_patient_within_its_timeout(stack: Synthesised) -> None:
    """A worker that waited for its turn as long as it may has half of its time left for its work."""
    assert ours(stack)["RegisterWork"]["Timeout"] >= 2 * PATIENCE.total_seconds()


@pytest.mark.parametrize(("metric", "threshold"), [("RegistrationAge", 6 * 3_600), ("InternalError", 1)])
def test_register_is_watched(stack: Synthesised, metric: str, threshold: int) -> None:
    """The alarm watches the namespace, name and dimension under which the Lambda counts."""
    (alarm,) = (
        alarm["Properties"]
        for alarm in stack.resources("AWS::CloudWatch::Alarm").values()
        if alarm["Properties"].get("MetricName") == metric
        and alarm["Properties"]["Dimensions"] == [{"Name": "service", "Value": "register"}]
    )
    assert (alarm["Namespace"], alarm["Threshold"]) == ("Firstboot", threshold)


def test_a_dead_message_rings(stack: Synthesised) -> None:
    """One message in the dead-letter queue rings the alarm."""
    alarm = stack.resources("AWS::CloudWatch::Alarm")["AlarmsRegistrationsDead"]["Properties"]
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert alarm["Threshold"] == 0


def test_a_lost_batch_has_a_queue_of_its_own(stack: Synthesised) -> None:
    """Lambda's letters about lost batches are handled one by one, and have dead letters of their own."""
    mapping = mappings(stack)[LOST]
    assert spell(mapping["FunctionName"]) == "${RegisterLost}"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BatchSize"] == 1
    redrive = queues(stack)[LOST]["RedrivePolicy"]
    assert (spell(redrive["deadLetterTargetArn"]), redrive["maxReceiveCount"]) == (LOST_DEAD, 5)
    assert queues(stack)[LOST]["VisibilityTimeout"] >= 6 * ours(stack)["RegisterLost"]["Timeout"]


def test_a_batch_that_cannot_be_read_again_rings(stack: Synthesised) -> None:
    """One dead letter about a batch of the stream rings the alarm."""
    alarm = stack.resources("AWS::CloudWatch::Alarm")["AlarmsStreamDead"]["Properties"]
    (dimension,) = alarm["Dimensions"]
    assert spell(dimension["Value"]) == "${RegisterQueuesLostDead.QueueName}"
    assert alarm["Threshold"] == 0
