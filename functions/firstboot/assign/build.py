"""Build the assign Lambda function from its settings."""

from __future__ import annotations

from firstboot.assign.connect import Connect
from firstboot.assign.endpoint import Authorize
from firstboot.assign.settings import AssignSettings
from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.policy.render import Place
from firstboot.policy.rules import RulesInForce
from firstboot.runtime.event import Work
from firstboot.runtime.guard import Guard
from firstboot.runtime.issuer_keys import IssuerKeys


def authorize(settings: AssignSettings, guard: Guard) -> Work:
    """Return the work behind AWS IoT's custom authorizer."""

    def failed(reason: str) -> None:
        guard.warning("keys not fetched", reason=reason)
        guard.count("KeysNotFetched")

    s3, refresh = clients.s3(settings.account), float(settings.fleet_refresh)
    fleet = FleetSource(s3, settings.bucket, deployed(), refresh, guard.fleet_unreadable)
    place = Place(settings.partition, settings.region, settings.account)
    devices = DynamoDevices(clients.dynamodb(), settings.table)
    connect = Connect(IssuerKeys(failed).key, settings.audience, place, devices)
    return Authorize(RulesInForce(fleet.current), connect, guard)
