"""A token in, a connection's policies out: AWS IoT's custom authorizer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from firstboot.assign import authorizer
from firstboot.assign.connect import Trusted, connect
from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoRegistry
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.domain.clock import utc_now
from firstboot.domain.errors import FirstbootError
from firstboot.domain.names import METRICS
from firstboot.policy.render import Place
from firstboot.policy.rules import RulesInForce
from firstboot.runtime import guard as refusals
from firstboot.runtime.issuer_keys import JwksSource
from firstboot.runtime.settings import AssignSettings

logger = Logger(service="assign")
metrics = Metrics(namespace=METRICS, service="assign")


@dataclass(frozen=True)
class Parts:
    """What the handler works with, made once a process."""

    rules: RulesInForce
    trusted: Trusted
    registry: DynamoRegistry
    place: Place


@cache
def parts() -> Parts:
    """The parts, wired as the environment says."""
    settings = AssignSettings.read()
    fleet = FleetSource(clients.s3(), settings.bucket, deployed(), float(settings.fleet_refresh))
    return Parts(
        rules=RulesInForce(fleet.current),
        trusted=Trusted(JwksSource(_fetch_failed).key, settings.audience),
        registry=DynamoRegistry(clients.dynamodb(), settings.table),
        place=Place(settings.partition, settings.region, settings.account),
    )


def _fetch_failed(reason: str) -> None:
    logger.warning("keys not fetched", extra={"reason": reason})
    metrics.add_metric("KeysNotFetched", MetricUnit.Count, 1)


def clock() -> datetime:
    """The time, for whoever must be told it."""
    return utc_now()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def authorize(event: object, context: LambdaContext) -> dict[str, Any]:
    """Lambda entry for AWS IoT. Whatever goes wrong, the answer is a refusal and never an error:
    a device that may not connect must not look like a service that is down.
    """
    metrics.add_metric("Request", MetricUnit.Count, 1)
    logger.append_keys(connectionId=authorizer.connection_id(event))
    try:
        return _connect(event, clock())
    except FirstbootError as error:
        refusals.count(error, logger, metrics)
    except Exception:
        logger.exception("unhandled")
        metrics.add_metric("InternalError", MetricUnit.Count, 1)
    return authorizer.REFUSED


def _connect(event: object, now: datetime) -> dict[str, Any]:
    made, request = parts(), authorizer.request(event)
    logger.append_keys(clientId=request.client_id[:128])  # what it calls itself, so far
    connection = connect(request, made.trusted, made.rules.at(now), made.place, made.registry, now)
    logger.info(
        "connection authorized",
        extra={
            "deviceId": connection.device_id,
            "issuer": connection.issuer,
            "documents": len(connection.policies),
            "seconds": connection.seconds,
        },
    )
    metrics.add_metric("ConnectionAuthorized", MetricUnit.Count, 1)
    return authorizer.answer(connection)
