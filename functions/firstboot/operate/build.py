"""Build the operate Lambda function from its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.aws.dynamodb.sweeps import DynamoSweeps
from firstboot.aws.functions import LambdaFunctions
from firstboot.aws.iot.certificates import IotCertificates
from firstboot.aws.iot.messages import IotMessages
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.aws.sqs.dead_letters import Queues, SqsDeadLetters
from firstboot.operate import requests
from firstboot.operate.audit import Audit
from firstboot.operate.device_import import DeviceImport
from firstboot.operate.devices import Devices
from firstboot.operate.failures import Failures
from firstboot.operate.fleet import Fleets
from firstboot.operate.groups import Groups
from firstboot.operate.settings import OperateSettings
from firstboot.policy.render import Place
from firstboot.runtime.guard import Guard
from firstboot.runtime.invoke import Operation
from firstboot.runtime.messages import NoMembers


def invoke(settings: OperateSettings, guard: Guard) -> Mapping[str, Operation[Any]]:
    """Return the operations by name.

    The fleet is read anew for every call: an operator must see what was published a moment ago.
    """
    in_asset = deployed()
    audit = Audit(guard)
    fleet = FleetSource(clients.s3(), settings.bucket, in_asset, refresh_seconds=0)
    records = DynamoDevices(clients.dynamodb(), settings.table)
    limiter = DynamoRateLimiter(clients.dynamodb(), settings.table)
    sweeps = DynamoSweeps(clients.dynamodb(), settings.table)
    store = S3CertificateStore(clients.s3(), settings.bucket)
    place = Place(settings.partition, settings.region, settings.account)
    devices = Devices(records, fleet, place, audit)
    device_import = DeviceImport(records, IotCertificates(clients.iot()), store, fleet, audit)
    groups = Groups(records, fleet, audit)
    fleets = Fleets(in_asset, fleet, records, sweeps, limiter, audit)
    failures = _failures(settings, audit)
    return {
        "devices.list": Operation(requests.ListDevices, devices.list),
        "devices.show": Operation(requests.OneDevice, devices.show),
        "devices.revoke": Operation(requests.OneDevice, devices.revoke),
        "devices.delete": Operation(requests.OneDevice, devices.delete),
        "devices.import": Operation(requests.ImportDevices, device_import),
        "devices.set": Operation(requests.SetAttributes, devices.set_attributes),
        "devices.explain": Operation(requests.ExplainDevice, devices.explain),
        "groups.show": Operation(requests.OneGroup, groups.show),
        "groups.freeze": Operation(requests.OneGroup, groups.freeze),
        "groups.thaw": Operation(requests.OneGroup, groups.thaw),
        "groups.expect": Operation(requests.ExpectDevices, groups.expect),
        "fleet.show": Operation(NoMembers, fleets.show),
        "fleet.apply": Operation(requests.ApplyFleet, fleets.apply),
        "fleet.plan": Operation(requests.PlanFleet, fleets.plan),
        "fleet.progress": Operation(NoMembers, fleets.progress),
        "failures.show": Operation(NoMembers, failures.show),
        "failures.redrive": Operation(requests.RedriveFailures, failures.redrive),
    }


def _failures(settings: OperateSettings, audit: Audit) -> Failures:
    queues = {
        name: SqsDeadLetters(clients.sqs(), Queues(**urls))
        for name, urls in json.loads(settings.dead_letters).items()
    }
    functions = LambdaFunctions(clients.lambda_())
    return Failures(queues, functions, IotMessages(clients.iot_data()).publish, audit)
