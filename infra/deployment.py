"""What every construct of a Firstboot is made from."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_lambda as lambda_

from firstboot.domain.fleet import Fleet
from infra.configuration import Configuration
from infra.storage import DeviceRecords, Store


@dataclass(frozen=True)
class Deployment:
    """`code` is the asset that all Lambdas share; the fleet is in it."""

    configuration: Configuration
    fleet: Fleet
    code: lambda_.Code
    device_records: DeviceRecords
    store: Store
