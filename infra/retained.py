"""What a deleted stack leaves on purpose, alone, for `cdk import` to take back."""

from __future__ import annotations

from constructs import Construct

from infra.authority import signing_key
from infra.configuration import Configuration
from infra.storage import DeviceRecords, Store


class Retained(Construct):
    """The table, the bucket and the CA's key, if it is ours, as a Firstboot of the same id has them.

    An import takes only templates in which nothing names what is not imported (CloudFormation user
    guide, "Import AWS resources into a CloudFormation stack"); in a Firstboot the bucket names a
    queue, and the key's policy roles. The deployment that follows adds them.
    """

    def __init__(self, scope: Construct, construct_id: str, configuration: Configuration) -> None:
        super().__init__(scope, construct_id)
        DeviceRecords(self, "Registry")
        Store(self, "Store")
        signing_key(Construct(self, "Authority"), configuration)
