"""Steps of the queue of orders by which AWS IoT is reconciled."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from functools import partial

from verify.bench import Bench
from verify.spending import Act
from verify.step import Failed, Measurement, Measurements, Need, Step
from verify.steps.ending import seconds_until

_LONGEST_DELAY = 900
"""Seconds (SQS API reference, SendMessage, DelaySeconds)."""

_WAITING = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
]


def order_ahead(bench: Bench, delay: int = 0) -> Measurements:
    """Send an order that is five hours ahead of its time, about a device without a record.

    No order waits in the queue for its time: a worker takes the next slot of the rate limiter inside the
    function (firstboot/register/slots.py). So this one must be worked off at once, and be no dead letter.
    """
    queue, dead = (bench.outputs(name) for name in ("RegistrationQueue", "DeadQueue"))
    before = _waiting(bench, dead)
    order = {
        "deviceId": bench.name(),
        "since": int((datetime.now(UTC) + timedelta(hours=5)).timestamp()),
        "priority": "change",
    }
    sqs = bench.client("sqs")
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(order), DelaySeconds=delay)
    time.sleep(delay)
    taken = seconds_until(lambda: not _waiting(bench, queue), "the order to be worked off")
    yield Measurement("until the queue is empty again", taken, "s")
    after = _waiting(bench, dead)
    yield Measurement("dead letters", after)
    if after > before:
        raise Failed("no new dead letter", after - before)


def _waiting(bench: Bench, queue: str) -> int:
    found = bench.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=_WAITING)
    return sum(int(found["Attributes"][name]) for name in _WAITING)


def recursion(bench: Bench) -> Measurements:
    """Read whether Lambda has stopped a function of the queue for a recursion.

    Source: Lambda developer guide, "Use Lambda recursive loop detection to prevent infinite loops".
    """
    queue = bench.client("sqs").get_queue_attributes(
        QueueUrl=bench.outputs("RegistrationQueue"), AttributeNames=["QueueArn"]
    )["Attributes"]["QueueArn"]
    mappings = bench.client("lambda").list_event_source_mappings(EventSourceArn=queue)
    now, stopped = datetime.now(UTC), 0.0
    for each in mappings["EventSourceMappings"]:
        function = each["FunctionArn"].split(":")[6]
        found = bench.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="RecursiveInvocationsDropped",
            Dimensions=[{"Name": "FunctionName", "Value": function}],
            StartTime=now - timedelta(days=14),
            EndTime=now,
            Period=86_400,
            Statistics=["Sum"],
        )
        stopped += sum(point["Sum"] for point in found["Datapoints"])
        mode = bench.client("lambda").get_function_recursion_config(FunctionName=function)["RecursiveLoop"]
        yield Measurement("recursive loops", mode)
    yield Measurement("invocations that Lambda stopped in 14 days", int(stopped))
    if stopped:
        raise Failed("no stopped invocation", int(stopped))


STEPS = (
    Step("an order five hours ahead of its time", order_ahead, spends={Act.OPERATE: 2}),
    Step(
        "an order with SQS's longest delay",
        partial(order_ahead, delay=_LONGEST_DELAY),
        frozenset({Need.LONG}),
        spends={Act.OPERATE: 2},
    ),
    Step("no stopped recursion", recursion, frozenset({Need.AWS})),
)
