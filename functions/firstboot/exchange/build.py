"""Build the exchange Lambda functions from their settings."""

from __future__ import annotations

from typing import cast

from cryptography.hazmat.primitives.asymmetric import ec

from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.aws.dynamodb.proofs import DynamoProofs
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.aws.dynamodb.retry_slots import DynamoRetrySlots
from firstboot.aws.iot.messages import IotMessages
from firstboot.aws.kms import KmsKey
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.domain import secret_keys, topics
from firstboot.domain.errors import FirstbootError
from firstboot.domain.lanes import Lanes
from firstboot.exchange.answers import Answers
from firstboot.exchange.commit import CommitByConnecting
from firstboot.exchange.endpoints import Endpoints, Presence
from firstboot.exchange.enroll import Enroll
from firstboot.exchange.exchange import Exchange
from firstboot.exchange.issue import Issue
from firstboot.exchange.messages import MqttCertificateRequest
from firstboot.exchange.renew import Renew
from firstboot.exchange.settings import ExchangeSettings, ProvisioningSettings
from firstboot.exchange.waiting import Waiting, issuing
from firstboot.identity.connection import Connected
from firstboot.identity.known_issuers import KnownIssuers
from firstboot.identity.login import LogIn
from firstboot.identity.proof import Prove
from firstboot.pki import chain
from firstboot.pki.profile import Issuer
from firstboot.runtime import routes
from firstboot.runtime.event import Work, repeat_unless_refused
from firstboot.runtime.guard import Guard
from firstboot.runtime.http import Endpoint, HttpEndpoints
from firstboot.runtime.messages import NoMembers
from firstboot.runtime.mqtt import MqttEndpoint, MqttEndpoints
from firstboot.runtime.routes import (
    CERTIFICATES,
    COMMIT,
    DPS_OPERATION,
    DPS_REGISTER,
    DPS_STATE,
    HEALTH,
    NONCE,
    Route,
    served,
)


def http(settings: ExchangeSettings, guard: Guard) -> HttpEndpoints:
    """Return the endpoints behind API Gateway."""
    made = _endpoints(settings, guard)
    offers = deployed().offers
    by_route: dict[Route, Endpoint] = {
        CERTIFICATES: made.certificates,
        COMMIT: made.commit,
        NONCE: made.nonce,
        HEALTH: made.health,
    }
    offers = deployed().offers
    if "est" in offers:
        by_route |= _est(settings, made)
    if "dps" in offers:
        by_route |= _dps(settings, made)
    return HttpEndpoints(served(offers), by_route)


def _est(settings: ExchangeSettings, made: Endpoints) -> dict[Route, Endpoint]:
    # Imported here, so that a fleet without EST does not load it.
    from firstboot.exchange.est import Est  # noqa: PLC0415
    from firstboot.identity.password import AdmitByPassword  # noqa: PLC0415

    keys = DynamoProofs(clients.dynamodb(), settings.table)
    est = Est(made.exchange, AdmitByPassword(keys), chain.parse(settings.ca_certificate), made.guard)
    return {
        routes.EST_CA: est.ca_certificates,
        routes.EST_ATTRIBUTES: est.attributes,
        routes.EST_ENROLL: est.enroll,
        routes.EST_REENROLL: est.enroll,
        routes.EST_KEYS: est.server_keys,
        routes.EST_CMC: est.cmc,
    }


def _dps(settings: ExchangeSettings, made: Endpoints) -> dict[Route, Endpoint]:
    # Imported here, so that a fleet without these devices does not load the modules.
    from firstboot.aws.secrets import SecretKeys  # noqa: PLC0415
    from firstboot.exchange.dps import Dps  # noqa: PLC0415
    from firstboot.identity.dps import Attest  # noqa: PLC0415
    from firstboot.identity.symmetric import AdmitByKey  # noqa: PLC0415

    keys = SecretKeys(clients.secrets_manager(), secret_keys.prefix(settings.stack, secret_keys.GROUPS))
    issue = made.exchange.enroll.issue
    dps = Dps(
        attest=Attest(made.exchange.fleet, AdmitByKey(keys)),
        exchange=made.exchange,
        records=made.log_in.records,
        store=issue.store,
        answers=made.answers,
        guard=made.guard,
    )
    return {DPS_REGISTER: dps.register, DPS_OPERATION: dps.operation, DPS_STATE: dps.state}


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


def provisioning(settings: ProvisioningSettings, guard: Guard) -> Work:
    """Return the work of the pre-provisioning hook."""
    # Only a fleet with this way has the function, and the others pay no cold start for it.
    from firstboot.aws.iot.certificates import IotCertificates  # noqa: PLC0415
    from firstboot.aws.iot.thing_types import IotThingTypes  # noqa: PLC0415
    from firstboot.domain.lanes import NoSlots  # noqa: PLC0415
    from firstboot.exchange.provision import Provision  # noqa: PLC0415
    from firstboot.exchange.provisioning import Hook, Remembered  # noqa: PLC0415
    from firstboot.exchange.reserve import Reserve  # noqa: PLC0415

    devices = DynamoDevices(clients.dynamodb(), settings.table)
    s3, refresh = clients.s3(settings.account), float(settings.fleet_refresh)
    # A refused device is not told when to come again, so no slots are taken for it.
    waiting = Waiting(Lanes(NoSlots()), issuing(1))
    provision = Provision(
        fleet=FleetSource(s3, settings.bucket, deployed(), refresh, guard.fleet_unreadable),
        claim_certificates=Remembered(IotCertificates(clients.iot())),
        things=IotThingTypes(clients.iot(), settings.stack),
        records=devices,
        reserve=Reserve(devices, waiting),
        store=S3CertificateStore(s3, settings.bucket),
    )
    return Hook(provision, guard)


def refuse_provisioning(error: FirstbootError, guard: Guard) -> dict[str, bool]:
    """Return the hook's answer to a refused request, and fail the invocation after a failure.

    Lambda counts failures. AWS IoT refuses the device in both cases.
    """
    repeat_unless_refused(error, guard)
    return {"allowProvisioning": False}


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
