"""Identity in, credentials out; and what a device may know of its own record.

Two handlers, a Lambda each: `http` behind API Gateway, `mqtt` behind a topic rule.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from cryptography import x509

from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoRegistry
from firstboot.aws.dynamodb.rate_limiter import Pace
from firstboot.aws.iot.messages import IotMessages
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.aws.sts import StsSessions
from firstboot.domain import topics
from firstboot.domain.clock import utc_now
from firstboot.domain.errors import FirstbootError, ProofError
from firstboot.domain.names import METRICS
from firstboot.domain.session import Credentials
from firstboot.identity.login import VerifiedIdentity, authenticate
from firstboot.identity.possession import Connection, connected
from firstboot.pki import chain
from firstboot.policy.render import Place
from firstboot.policy.rules import Moment, RulesInForce
from firstboot.runtime import callers
from firstboot.runtime import http as web
from firstboot.runtime import mqtt as mqtt_edge
from firstboot.runtime.settings import VendSettings
from firstboot.vend import credential_provider
from firstboot.vend import record as device
from firstboot.vend.vend import VendingRequest, vend

logger = Logger(service="vend")
metrics = Metrics(namespace=METRICS, service="vend")


@dataclass(frozen=True)
class Parts:
    """What the handlers work with, made once a process."""

    rules: RulesInForce
    ca: x509.Certificate
    registry: DynamoRegistry
    store: S3CertificateStore
    pace: Pace
    sts: StsSessions
    place: Place
    role_arns: dict[str, str]


@cache
def parts() -> Parts:
    """The parts, wired as the environment says."""
    settings = VendSettings.read()
    fleet = FleetSource(clients.s3(), settings.bucket, deployed(), float(settings.fleet_refresh))
    return Parts(
        rules=RulesInForce(fleet.current),
        ca=chain.parse(settings.ca_certificate),
        registry=DynamoRegistry(clients.dynamodb(), settings.table),
        store=S3CertificateStore(clients.s3(), settings.bucket),
        pace=Pace(clients.dynamodb(), settings.table),
        sts=StsSessions(clients.sts()),
        place=Place(settings.partition, settings.region, settings.account),
        role_arns=json.loads(settings.role_arns),
    )


def clock() -> datetime:
    """The time, for whoever must be told it."""
    return utc_now()


api = web.Api(logger, metrics, clock)


def identify(now: datetime) -> VerifiedIdentity:
    """The device behind the event's certificate."""
    presented = callers.present(api.event, parts().registry, now)
    identity = authenticate(presented, parts().ca, parts().registry, now)
    logger.append_keys(deviceId=identity.device.device_id)
    return identity


@api.app.get("/role-aliases/<alias>/credentials")
def credentials(alias: str) -> Response[str]:
    """Credentials for what the device may do right now, as AWS IoT's credential provider."""
    now, made, context = clock(), parts(), api.event.request_context
    request = VendingRequest(alias, api.event.headers.get("x-amzn-iot-thingname"), context.http.source_ip)
    try:
        identity = identify(now)
        vended = vend(identity, request, made.rules.at(now), made.place, made.role_arns, made.sts)
        answer = credential_provider.success(vended)
    except ProofError:
        raise  # whoever signs proofs speaks our protocol, and needs its codes
    except FirstbootError as error:
        api.count_refusal(error)
        return credential_provider.failure(error, context.request_id)
    _note(alias, vended)
    return answer


@api.app.get("/v1/device")
def record() -> Response[str]:
    """The device's own record, and the grants it holds now."""
    now = clock()
    identity = identify(now)
    rules = parts().rules.at(now)
    source_ip = api.event.request_context.http.source_ip
    aliases = [None, *rules.fleet.role_aliases]
    moments = [Moment(role_alias=alias, source_ip=source_ip) for alias in aliases]
    grants = {grant for moment in moments for grant in rules.decide(identity.device, moment).grants}
    group = rules.fleet.groups.get(identity.device.group)
    ready = group is not None and group.is_connectable(identity.certificate_id, identity.device.registered)
    seconds = web.RETRY_SECONDS + (0 if ready else parts().pace.backlog_seconds(now))
    return web.answer(200, device.record(identity, sorted(grants), now, seconds, ready=ready), now)


def credentials_message(connection: Connection, members: dict[str, Any]) -> dict[str, Any]:
    """Credentials over MQTT: for the same decision, a moment without a source address."""
    now, made = clock(), parts()
    request = VendingRequest(mqtt_edge.role_alias(members))
    presented = connected(connection, None, made.registry, made.store)
    identity = authenticate(presented, made.ca, made.registry, now)
    logger.append_keys(deviceId=identity.device.device_id)
    vended = vend(identity, request, made.rules.at(now), made.place, made.role_arns, made.sts)
    _note(request.role_alias, vended)
    return {"credentials": credential_provider.members(vended)}


def _note(alias: str, vended: Credentials) -> None:
    logger.info("credentials vended", extra={"roleAlias": alias, "expiration": vended.expiration})
    metrics.add_metric("CredentialsVended", MetricUnit.Count, 1)


requests = mqtt_edge.Requests(
    logger,
    metrics,
    clock,
    lambda topic, members: IotMessages(clients.iot_data()).publish(topic, members),
    {topics.CREDENTIALS: credentials_message},
)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def mqtt(event: object, context: LambdaContext) -> None:
    """Lambda entry for the topic rule of requests."""
    requests.handle(event, context)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def http(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Lambda entry for API Gateway."""
    return api.resolve(event, context)
