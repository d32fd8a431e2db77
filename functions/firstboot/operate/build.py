"""Build the operate Lambda functions from their settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
from firstboot.operate.device_password import DevicePassword
from firstboot.operate.device_rebinding import DeviceRebinding
from firstboot.operate.device_repair import DeviceRepair
from firstboot.operate.devices import Devices
from firstboot.operate.failures import Failures
from firstboot.operate.fleet import Fleets
from firstboot.operate.groups import Groups
from firstboot.operate.settings import OperateSettings, ReadSettings
from firstboot.policy.render import Place
from firstboot.runtime.guard import Guard
from firstboot.runtime.invoke import Bound, Operations, by_name


def invoke(settings: OperateSettings, guard: Guard) -> Operations:
    """Return all operations by name."""
    audit, shared = Audit(guard), _Shared.of(settings, guard)
    records, fleet = shared.records, shared.fleet
    store = S3CertificateStore(clients.s3(settings.account), settings.bucket)
    certificates = IotCertificates(clients.iot())
    device_import = DeviceImport(records, certificates, store, fleet, audit, shared.place, settings.stack)
    device_repair = DeviceRepair(settings.ca_certificate, records, certificates, store, audit)
    devices, groups, failures = shared.devices, shared.groups, _failures(settings, audit)
    bound: list[Bound[Any]] = [
        *shared.reading(),
        operations.DEVICES_REVOKE.bind(devices.revoke),
        operations.DEVICES_DELETE.bind(devices.delete),
        operations.DEVICES_IMPORT.bind(device_import),
        operations.DEVICES_REPAIR.bind(device_repair),
        operations.DEVICES_REBIND.bind(DeviceRebinding(records, fleet, audit)),
        operations.DEVICES_TOKEN.bind(DevicePassword(records, fleet, audit)),
        operations.DEVICES_SET.bind(devices.set_attributes),
        operations.GROUPS_FREEZE.bind(groups.freeze),
        operations.GROUPS_THAW.bind(groups.thaw),
        operations.GROUPS_EXPECT.bind(groups.expect),
        operations.FACTORY_REVOKE.bind(BootstrapRevocation(records, certificates, audit)),
        operations.FLEET_APPLY.bind(shared.fleets.apply),
        operations.FAILURES_SHOW.bind(failures.show),
        operations.FAILURES_DELETE.bind(failures.delete),
        operations.FAILURES_REDRIVE.bind(failures.redrive),
    ]
    return by_name(operations.OPERATIONS, bound)


def read(settings: ReadSettings, guard: Guard) -> Operations:
    """Return the operations that change nothing, by name."""
    return by_name(operations.READING, _Shared.of(settings, guard).reading())


@dataclass(frozen=True)
class _Shared:
    """The use cases of which both functions have operations."""

    records: DynamoDevices
    fleet: FleetSource
    place: Place
    devices: Devices
    groups: Groups
    fleets: Fleets

    @classmethod
    def of(cls, settings: ReadSettings, guard: Guard) -> _Shared:
        """Return the use cases over the adapters that `settings` name.

        The fleet is read anew for every call, because an operator must see what was published a moment ago.
        """
        in_asset, audit, table = deployed(), Audit(guard), settings.table
        s3 = clients.s3(settings.account)
        fleet = FleetSource(s3, settings.bucket, in_asset, 0, guard.fleet_unreadable)
        published = PublishedFleet(s3, settings.bucket)
        records, sweeps = DynamoDevices(clients.dynamodb(), table), DynamoSweeps(clients.dynamodb(), table)
        limiter = DynamoRateLimiter(clients.dynamodb(), table)
        place = Place(settings.partition, settings.region, settings.account)
        return cls(
            records=records,
            fleet=fleet,
            place=place,
            devices=Devices(records, fleet, place, audit),
            groups=Groups(records, sweeps, fleet, audit, place),
            fleets=Fleets(
                in_asset,
                fleet,
                published,
                records,
                sweeps,
                limiter,
                audit,
                place,
                has_public_host=settings.public_host == "true",
                clock=guard.now,
            ),
        )

    def reading(self) -> list[Bound[Any]]:
        """Return the operations that change nothing."""
        return [
            operations.DEVICES_LIST.bind(self.devices.list),
            operations.DEVICES_SHOW.bind(self.devices.show),
            operations.DEVICES_EXPLAIN.bind(self.devices.explain),
            operations.GROUPS_SHOW.bind(self.groups.show),
            operations.FLEET_SHOW.bind(self.fleets.show),
            operations.FLEET_PLAN.bind(self.fleets.plan),
            operations.FLEET_PROGRESS.bind(self.fleets.progress),
        ]


def _failures(settings: OperateSettings, audit: Audit) -> Failures:
    queues = {
        name: SqsDeadLetters(clients.sqs(), Queues(**urls))
        for name, urls in json.loads(settings.dead_letters).items()
    }
    return Failures(queues, audit)
