"""The values that the constructs of a Firstboot share."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_lambda as lambda_

from firstboot.domain.fleet import Fleet
from infra.configuration import Configuration
from infra.storage import DeviceRecords, Store


@dataclass(frozen=True)
class Deployment:
    """The parts of a Firstboot that its constructs are made from.

    `code` is the asset that all Lambdas share. It contains the compiled `fleet`.
    """

    configuration: Configuration
    fleet: Fleet
    code: lambda_.Code
    device_records: DeviceRecords
    store: Store
