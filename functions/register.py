"""Brings AWS IoT to what the registry says. Nothing else writes to its control plane."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from firstboot.aws import clients
from firstboot.aws.fleet import FleetSource, deployed
from firstboot.aws.iot_certificates import IotCertificates
from firstboot.aws.registry import DynamoRegistry
from firstboot.edge import refusals, registered
from firstboot.errors import FirstbootError
from firstboot.names import METRICS
from firstboot.newcomer import judge
from firstboot.settings import NewcomersSettings

logger = Logger(service="register")
metrics = Metrics(namespace=METRICS, service="register")


@dataclass(frozen=True)
class Door:
    """What `newcomers` works with, made once a process."""

    stack: str
    fleet: FleetSource
    certificates: IotCertificates
    registry: DynamoRegistry


@cache
def door() -> Door:
    """The parts, wired as the environment says."""
    settings = NewcomersSettings.read()
    return Door(
        stack=settings.stack,
        fleet=FleetSource(clients.s3(), settings.bucket, deployed(), float(settings.fleet_refresh)),
        certificates=IotCertificates(clients.iot()),
        registry=DynamoRegistry(clients.dynamodb(), settings.table),
    )


def clock() -> datetime:
    """The time, for whoever must be told it."""
    return datetime.now(UTC)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def newcomers(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Lambda entry for the queue of certificates that AWS IoT registered by itself. The answer
    names the messages to bring again (Lambda developer guide, "Reporting batch item failures").
    """
    failed = [record["messageId"] for record in event["Records"] if not _is_done(record["body"])]
    return {"batchItemFailures": [{"itemIdentifier": each} for each in failed]}


def _is_done(body: str) -> bool:
    try:
        _judge(registered.certificate_id(body), clock())
    except FirstbootError as error:
        refusals.count(error, logger, metrics)
    except Exception:
        logger.exception("unhandled")
        metrics.add_metric("InternalError", MetricUnit.Count, 1)
    else:
        return True
    return False


def _judge(certificate_id: str, now: datetime) -> None:
    made = door()
    judged = judge(certificate_id, made.stack, made.fleet.current(now), made.certificates, made.registry, now)
    about = {"certificateId": certificate_id, "outcome": judged.outcome.value}
    if judged.refusal:
        about |= {"code": judged.refusal.code, "reason": judged.refusal.log}
    logger.info("newcomer", extra=about)
    metrics.add_metric(f"Newcomer{judged.outcome.capitalize()}", MetricUnit.Count, 1)
