"""Build the operate Lambda function from its settings."""

from __future__ import annotations

import json
from typing import Any

from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.aws.dynamodb.sweeps import DynamoSweeps
from firstboot.aws.iot.certificates import IotCertificates
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, PublishedFleet, deployed
from firstboot.aws.sqs.dead_letters import Queues, SqsDeadLetters
from firstboot.operate import operations
from firstboot.operate.audit import Audit
from firstboot.operate.bootstrap import BootstrapRevocation
from firstboot.operate.device_import import DeviceImport
from firstboot.operate.device_repair import DeviceRepair
from firstboot.operate.devices import Devices
from firstboot.operate.failures import Failures
from firstboot.operate.fleet import Fleets
from firstboot.operate.groups import Groups
from firstboot.operate.settings import OperateSettings
from firstboot.policy.render import Place
from firstboot.runtime.guard import Guard
from firstboot.runtime.invoke import Bound, Operations, by_name


def invoke(settings: OperateSettings, guard: Guard) -> Operations:
    """Return the operations by name.

    The fleet is read anew for every call, because an operator must see what was published a moment ago.
    """
    in_asset = deployed()
    audit = Audit(guard)
    fleet = FleetSource(clients.s3(), settings.bucket, in_asset, 0, guard.fleet_unreadable)
    published = PublishedFleet(clients.s3(), settings.bucket)
    records = DynamoDevices(clients.dynamodb(), settings.table)
    limiter = DynamoRateLimiter(clients.dynamodb(), settings.table)
    sweeps = DynamoSweeps(clients.dynamodb(), settings.table)
    store = S3CertificateStore(clients.s3(), settings.bucket)
    place = Place(settings.partition, settings.region, settings.account)
    devices = Devices(records, fleet, place, audit)
    certificates = IotCertificates(clients.iot())
    device_import = DeviceImport(records, certificates, store, fleet, audit)
    device_repair = DeviceRepair(settings.ca_certificate, records, certificates, store, audit)
    groups = Groups(records, sweeps, fleet, audit)
    fleets = Fleets(in_asset, fleet, published, records, sweeps, limiter, audit)
    failures = _failures(settings, audit)
    bound: list[Bound[Any]] = [
        operations.DEVICES_LIST.bind(devices.list),
        operations.DEVICES_SHOW.bind(devices.show),
        operations.DEVICES_REVOKE.bind(devices.revoke),
        operations.DEVICES_DELETE.bind(devices.delete),
        operations.DEVICES_IMPORT.bind(device_import),
        operations.DEVICES_REPAIR.bind(device_repair),
        operations.DEVICES_SET.bind(devices.set_attributes),
        operations.DEVICES_EXPLAIN.bind(devices.explain),
        operations.GROUPS_SHOW.bind(groups.show),
        operations.GROUPS_FREEZE.bind(groups.freeze),
        operations.GROUPS_THAW.bind(groups.thaw),
        operations.GROUPS_EXPECT.bind(groups.expect),
        operations.FACTORY_REVOKE.bind(BootstrapRevocation(records, certificates, audit)),
        operations.FLEET_SHOW.bind(fleets.show),
        operations.FLEET_APPLY.bind(fleets.apply),
        operations.FLEET_PLAN.bind(fleets.plan),
        operations.FLEET_PROGRESS.bind(fleets.progress),
        operations.FAILURES_SHOW.bind(failures.show),
        operations.FAILURES_DELETE.bind(failures.delete),
        operations.FAILURES_REDRIVE.bind(failures.redrive),
    ]
    return by_name(operations.OPERATIONS, bound)


def _failures(settings: OperateSettings, audit: Audit) -> Failures:
    queues = {
        name: SqsDeadLetters(clients.sqs(), Queues(**urls))
        for name, urls in json.loads(settings.dead_letters).items()
    }
    return Failures(queues, audit)
