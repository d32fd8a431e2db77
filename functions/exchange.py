"""CSR in, presigned URL out: the bootstrap certificate exchange, and whatever no route takes.

Three handlers, a Lambda each: `http` behind API Gateway, `mqtt` behind topic rules, and `presence`
behind the rule on connections. None takes another's events.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, cast

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from cryptography.hazmat.primitives.asymmetric import ec

from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoRegistry
from firstboot.aws.dynamodb.rate_limiter import Pace
from firstboot.aws.iot.messages import IotMessages
from firstboot.aws.kms import KmsKey
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.domain import topics
from firstboot.domain.clock import utc_now
from firstboot.domain.errors import FirstbootError, Unavailable
from firstboot.domain.names import METRICS
from firstboot.exchange import messages as certificates
from firstboot.exchange.commit import log_in
from firstboot.exchange.enroll import enroll
from firstboot.exchange.issue import Claimed, Issued
from firstboot.exchange.renew import is_renewal, renew
from firstboot.identity.login import authenticate
from firstboot.identity.possession import Connection, Presented, connected, fresh_nonce
from firstboot.pki import chain
from firstboot.pki.profile import Issuer
from firstboot.runtime import callers
from firstboot.runtime import guard as refusals
from firstboot.runtime import http as web
from firstboot.runtime import mqtt as mqtt_edge
from firstboot.runtime.settings import ExchangeSettings

logger = Logger(service="exchange")
metrics = Metrics(namespace=METRICS, service="exchange")


@dataclass(frozen=True)
class Parts:
    """What the handlers work with, made once a process."""

    fleet: FleetSource
    issuer: Issuer
    registry: DynamoRegistry
    store: S3CertificateStore
    pace: Pace
    mqtt: certificates.Mqtt


@cache
def parts() -> Parts:
    """The parts, wired as the environment says."""
    settings = ExchangeSettings.read()
    ca = chain.parse(settings.ca_certificate)
    key = KmsKey(clients.kms(), settings.ca_key, cast("ec.EllipticCurvePublicKey", ca.public_key()))
    return Parts(
        fleet=FleetSource(clients.s3(), settings.bucket, deployed(), float(settings.fleet_refresh)),
        issuer=Issuer(ca, key),
        registry=DynamoRegistry(clients.dynamodb(), settings.table),
        store=S3CertificateStore(clients.s3(), settings.bucket),
        pace=Pace(clients.dynamodb(), settings.table),
        mqtt=certificates.Mqtt(settings.mqtt_host, int(settings.mqtt_port)),
    )


def clock() -> datetime:
    """The time, for whoever must be told it."""
    return utc_now()


api = web.Api(logger, metrics, clock)


@api.app.post("/v1/certificates")
def exchange() -> Response[str]:
    """Certify the key in the CSR: enroll with a bootstrap certificate, renew with one of ours."""
    now, made, event = clock(), parts(), api.event
    presented = callers.present(event, made.registry, now)
    body = certificates.parse(
        event.body,
        event.headers.get("content-type", ""),
        event.query_string_parameters,
        encoded=bool(event.is_base64_encoded),
    )
    outcome = _certify(presented, body, now)
    answer = _answer(outcome, body, now)
    return web.answer(201, answer, now) if isinstance(outcome, Issued) else web.wait(answer, now)


def _certify(presented: Presented, body: certificates.Body, now: datetime) -> Issued | Claimed:
    made = parts()
    certify = renew if is_renewal(presented, made.issuer.certificate) else enroll
    outcome = certify(
        presented, body.request, made.fleet.current(now), made.issuer, made.registry, made.store, now
    )
    logger.append_keys(deviceId=outcome.device_id)
    if isinstance(outcome, Issued):
        logger.info("certificate issued", extra={"serial": outcome.record.serial, "by": certify.__name__})
        metrics.add_metric("CertificateIssued", MetricUnit.Count, 1)
    else:
        logger.warning("certificate delayed", extra={"reason": outcome.reason})
        metrics.add_metric("CertificateDelayed", MetricUnit.Count, 1)
    return outcome


def _answer(outcome: Issued | Claimed, body: certificates.Body, now: datetime) -> dict[str, Any]:
    made = parts()
    if isinstance(outcome, Claimed):
        return certificates.claimed(outcome)
    backlog = 0 if outcome.ready else made.pace.backlog_seconds(now)
    return certificates.issued(outcome, body, made.mqtt, made.store, now, web.RETRY_SECONDS + backlog)


@api.app.post("/v1/certificates/commit")
def commit() -> Response[str]:
    """Log in with the new certificate; that makes it the active one."""
    now, made = clock(), parts()
    presented = callers.present(api.event, made.registry, now)
    identity = authenticate(presented, made.issuer.certificate, made.registry, now)
    return web.answer(200, certificates.committed(identity), now)


@api.app.get("/v1/nonce")
def nonce() -> Response[str]:
    """A nonce for signed proofs, for whoever has no clock."""
    now = clock()
    fresh = fresh_nonce(parts().registry, now)
    answer = web.answer(200, {"nonce": fresh}, now)
    answer.headers[web.NONCE_HEADER] = fresh
    return answer


@api.app.get("/healthz")
def healthz() -> Response[str]:
    """The gateway reaches a Lambda; no proof needed, nothing else said."""
    return web.answer(200, {"status": "ok"}, clock())


def exchange_message(connection: Connection, members: dict[str, Any]) -> dict[str, Any]:
    """The same over MQTT. `bootstrap` is the bootstrap certificate itself; without it, the
    certificate is the one that the device's record knows.
    """
    now, made = clock(), parts()
    presented = connected(connection, mqtt_edge.take_bootstrap(members), made.registry, made.store)
    body = certificates.from_members(members)
    return _answer(_certify(presented, body, now), body, now)


def commit_message(connection: Connection, members: dict[str, Any]) -> dict[str, Any]:
    """Log in with the new certificate, over MQTT."""
    now, made = clock(), parts()
    mqtt_edge.take_nothing(members)
    presented = connected(connection, None, made.registry, made.store)
    identity = authenticate(presented, made.issuer.certificate, made.registry, now)
    return certificates.committed(identity)


requests = mqtt_edge.Requests(
    logger,
    metrics,
    clock,
    lambda topic, members: IotMessages(clients.iot_data()).publish(topic, members),
    {topics.CERTIFICATES: exchange_message, topics.COMMIT: commit_message},
)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def mqtt(event: object, context: LambdaContext) -> None:
    """Lambda entry for the topic rules of requests."""
    requests.handle(event, context)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def presence(event: object, context: LambdaContext) -> None:
    """Lambda entry for the topic rule of connections."""
    metrics.add_metric("Connected", MetricUnit.Count, 1)
    now, made = clock(), parts()
    try:
        identity = log_in(
            mqtt_edge.connection(event), made.issuer.certificate, made.registry, made.store, now
        )
    except Unavailable:
        raise  # Lambda tries again, and then keeps the event
    except FirstbootError as error:
        refusals.count(error, logger, metrics)
        return
    if identity:
        logger.info("committed by connecting", extra={"deviceId": identity.device.device_id})
        metrics.add_metric("CommittedByConnecting", MetricUnit.Count, 1)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def http(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Lambda entry for API Gateway."""
    return api.resolve(event, context)
