"""Build the vend Lambda functions from their settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.aws.dynamodb.retry_slots import DynamoRetrySlots
from firstboot.aws.iot.messages import IotMessages
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.aws.sts import StsSessions
from firstboot.domain import hubs, topics
from firstboot.domain.lanes import Lanes
from firstboot.domain.retry_slots import Lane
from firstboot.identity.connection import Connected
from firstboot.identity.login import LogIn
from firstboot.identity.proof import Prove
from firstboot.pki import certificate, chain
from firstboot.policy.render import Place
from firstboot.policy.rules import RulesInForce
from firstboot.runtime.guard import Guard
from firstboot.runtime.http import Endpoint, HttpEndpoints
from firstboot.runtime.mqtt import MqttEndpoint, MqttEndpoints
from firstboot.runtime.routes import CREDENTIALS, DEVICE, SAS, SESSIONS, Route, served
from firstboot.vend.endpoints import Endpoints, MqttCredentialsRequest
from firstboot.vend.record import ShowRecord
from firstboot.vend.settings import VendSettings
from firstboot.vend.vend import Vend
from firstboot.vend.waiting import Readiness, Waiting

if TYPE_CHECKING:
    from firstboot.vend.hub_signature import SignForHub


def http(settings: VendSettings, guard: Guard) -> HttpEndpoints:
    """Return the endpoints behind API Gateway."""
    made = _endpoints(settings, guard)
    by_route: dict[Route, Endpoint] = {DEVICE: made.record, CREDENTIALS: made.credentials}
    offers = deployed().offers
    if hubs.KIND in offers:
        by_route[SAS] = partial(made.hub_signature, sign=_sign_for_hub(settings))
    if SESSIONS.needs in offers:
        # A fleet without this way does not pay for the import.
        from firstboot.vend.roles_anywhere import RolesAnywhere  # noqa: PLC0415

        by_route[SESSIONS] = RolesAnywhere(made, made.vend.place)
    return HttpEndpoints(served(offers), by_route)


def _sign_for_hub(settings: VendSettings) -> SignForHub:
    # A cold start of another fleet does not import these.
    from firstboot.aws.secrets import SecretKeys  # noqa: PLC0415
    from firstboot.domain import secret_keys  # noqa: PLC0415
    from firstboot.vend.hub_signature import SignForHub  # noqa: PLC0415

    prefix = secret_keys.prefix(settings.stack, secret_keys.HUBS)
    return SignForHub(SecretKeys(clients.secrets_manager(), prefix))


def mqtt(settings: VendSettings, guard: Guard) -> MqttEndpoints:
    """Return the endpoint behind the topic rule of requests."""
    made = _endpoints(settings, guard)
    by_call = {topics.CREDENTIALS: MqttEndpoint(MqttCredentialsRequest, made.credentials_message)}
    return MqttEndpoints(by_call, IotMessages(clients.iot_data()).publish)


def _endpoints(settings: VendSettings, guard: Guard) -> Endpoints:
    devices = DynamoDevices(clients.dynamodb(), settings.table)
    s3, refresh = clients.s3(settings.account), float(settings.fleet_refresh)
    store = S3CertificateStore(s3, settings.bucket)
    shipped = deployed()
    fleet = FleetSource(s3, settings.bucket, shipped, refresh, guard.fleet_unreadable)
    place = Place(settings.partition, settings.region, settings.account)
    lanes = Lanes(DynamoRetrySlots(clients.dynamodb(), settings.table))
    # A slot further ahead than an hour is right here, since the orders do take hours.
    reconciling = Lane("reconciling", max(1, int(float(settings.iot_rate) * 60)), longest=None)
    limiter = DynamoRateLimiter(clients.dynamodb(), settings.table)
    return Endpoints(
        rules=RulesInForce(fleet.current),
        log_in=LogIn(chain.parse(settings.ca_certificate), devices, devices, store, fleet),
        prove=Prove(devices),
        connected=Connected(devices, store),
        vend=Vend(place, shipped.role_aliases, StsSessions(clients.sts())),
        show_record=ShowRecord(Readiness(limiter, lanes, reconciling)),
        waiting=Waiting(
            lanes,
            Lane("vending", int(settings.sts_rate) * 60),
            certificate.parse_text(settings.ca_certificate),
        ),
        guard=guard,
    )
