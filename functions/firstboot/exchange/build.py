"""Build the exchange Lambda functions from their settings."""

from __future__ import annotations

from typing import cast

from cryptography.hazmat.primitives.asymmetric import ec

from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.aws.dynamodb.retry_slots import DynamoRetrySlots
from firstboot.aws.iot.messages import IotMessages
from firstboot.aws.kms import KmsKey
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.domain import topics
from firstboot.domain.lanes import Lanes
from firstboot.exchange.answers import Answers
from firstboot.exchange.commit import CommitByConnecting
from firstboot.exchange.endpoints import Endpoints, Presence
from firstboot.exchange.enroll import Enroll
from firstboot.exchange.exchange import Exchange
from firstboot.exchange.issue import Issue
from firstboot.exchange.messages import MqttCertificateRequest
from firstboot.exchange.renew import Renew
from firstboot.exchange.settings import ExchangeSettings
from firstboot.exchange.waiting import Waiting, issuing
from firstboot.identity.connection import Connected
from firstboot.identity.known_issuers import KnownIssuers
from firstboot.identity.login import LogIn
from firstboot.identity.proof import Prove
from firstboot.pki import chain
from firstboot.pki.profile import Issuer
from firstboot.runtime.event import Work
from firstboot.runtime.guard import Guard
from firstboot.runtime.http import Endpoint, HttpEndpoints
from firstboot.runtime.messages import NoMembers
from firstboot.runtime.mqtt import MqttEndpoint, MqttEndpoints
from firstboot.runtime.routes import CERTIFICATES, COMMIT, HEALTH, NONCE, Route, served


def http(settings: ExchangeSettings, guard: Guard) -> HttpEndpoints:
    """Return the endpoints behind API Gateway."""
    made = _endpoints(settings, guard)
    by_route: dict[Route, Endpoint] = {
        CERTIFICATES: made.certificates,
        COMMIT: made.commit,
        NONCE: made.nonce,
        HEALTH: made.health,
    }
    return HttpEndpoints(served(deployed().offers), by_route)


def mqtt(settings: ExchangeSettings, guard: Guard) -> MqttEndpoints:
    """Return the endpoints behind the topic rules of requests."""
    made = _endpoints(settings, guard)
    by_call = {
        topics.CERTIFICATES: MqttEndpoint(MqttCertificateRequest, made.certificates_message),
        topics.COMMIT: MqttEndpoint(NoMembers, made.commit_message),
    }
    return MqttEndpoints(by_call, IotMessages(clients.iot_data()).publish)


def presence(settings: ExchangeSettings, guard: Guard) -> Work:
    """Return the work behind the topic rule of connections."""
    made = _endpoints(settings, guard)
    return Presence(CommitByConnecting(made.connected, made.log_in), guard)


def _endpoints(settings: ExchangeSettings, guard: Guard) -> Endpoints:
    ca = chain.parse(settings.ca_certificate)
    # `authority` refuses to make a CA for a key that is not on P-256.
    key = KmsKey(clients.kms(), settings.ca_key, cast("ec.EllipticCurvePublicKey", ca.public_key()))
    devices = DynamoDevices(clients.dynamodb(), settings.table)
    s3, refresh = clients.s3(settings.account), float(settings.fleet_refresh)
    store = S3CertificateStore(s3, settings.bucket)
    fleet = FleetSource(s3, settings.bucket, deployed(), refresh, guard.fleet_unreadable)
    limiter = DynamoRateLimiter(clients.dynamodb(), settings.table)
    lanes = Lanes(DynamoRetrySlots(clients.dynamodb(), settings.table))
    waiting = Waiting(lanes, issuing(int(settings.kms_rate)))
    issue = Issue(Issuer(ca, key), devices, store, waiting)
    enroll, renew = Enroll(issue, devices), Renew(issue, devices, devices)
    return Endpoints(
        exchange=Exchange(fleet, enroll, renew, KnownIssuers(), waiting),
        log_in=LogIn(ca, devices, devices, store, fleet),
        prove=Prove(devices),
        connected=Connected(devices, store),
        answers=Answers(settings.mqtt_host, int(settings.mqtt_port), store, limiter),
        guard=guard,
    )
