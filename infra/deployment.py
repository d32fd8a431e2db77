"""The values that the constructs of a Firstboot share."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.domain.fleet import Fleet
from infra.assets import Assets
from infra.configuration import Configuration
from infra.storage import DeviceRecords, Store


@dataclass(frozen=True)
class Deployment:
    """The parts of a Firstboot that its constructs are made from.

    `code` has the Lambda assets, which contain the compiled `fleet`.
    """

    configuration: Configuration
    fleet: Fleet
    code: Assets
    device_records: DeviceRecords
    store: Store
