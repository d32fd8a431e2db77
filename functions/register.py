"""AWS IoT, brought to what the devices' records say: which devices need it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from firstboot import sweep as sweeping
from firstboot.aws import clients
from firstboot.aws.fleet import FleetSource, deployed
from firstboot.aws.policies import IotPolicies
from firstboot.aws.registry import DynamoRegistry
from firstboot.aws.sweeps import DynamoSweeps, RegistrationQueue
from firstboot.edge import refusals
from firstboot.errors import FirstbootError
from firstboot.names import METRICS
from firstboot.policy.render import Place
from firstboot.policy.rules import RulesInForce
from firstboot.settings import SweepSettings

logger = Logger(service="register")
metrics = Metrics(namespace=METRICS, service="register")


@cache
def sweep_parts() -> sweeping.Parts:
    """The sweep's parts, wired as the environment says. The fleet is read anew every time: what was
    published a moment ago is what it is about.
    """
    settings = SweepSettings.read()
    rules = RulesInForce(FleetSource(clients.s3(), settings.bucket, deployed(), refresh_seconds=0).current)
    return sweeping.Parts(
        rules=lambda: rules.at(clock()),
        sweeps=DynamoSweeps(clients.dynamodb(), settings.table),
        registry=DynamoRegistry(clients.dynamodb(), settings.table),
        policies=IotPolicies(clients.iot()),
        send=RegistrationQueue(clients.sqs(), settings.queue).send,
        stack=settings.stack,
        place=Place(settings.partition, settings.region, settings.account),
    )


def clock() -> datetime:
    """The time, for whoever must be told it."""
    return datetime.now(UTC)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def sweep(event: object, context: LambdaContext) -> None:
    """Lambda entry for the schedule and for a published fleet; nothing in the event matters. What
    AWS did not do now is done by the next minute's run.
    """
    metrics.add_metric("SweepRun", MetricUnit.Count, 1)
    stop = 1000 * (sweeping.RUN_SECONDS - sweeping.WORK_SECONDS)
    try:
        done = sweeping.run(
            sweep_parts(), int(clock().timestamp()), lambda: context.get_remaining_time_in_millis() > stop
        )
    except FirstbootError as error:
        refusals.count(error, logger, metrics)
        metrics.add_metric("SweepFailed", MetricUnit.Count, 1)
        return
    if done:
        logger.info(
            "swept",
            extra={"fleetHash": done.fleet_hash, "scanned": done.scanned, "touched": done.touched},
        )
