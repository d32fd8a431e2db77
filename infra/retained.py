"""The resources that a deleted stack leaves, in a stack of their own for `cdk import`."""

from __future__ import annotations

from constructs import Construct

from infra.authority import signing_key
from infra.configuration import Configuration
from infra.storage import DeviceRecords, Store


class Retained(Construct):
    """The table, the bucket and the stack's own CA key, with the logical ids that they have in a Firstboot.

    The deployment that follows the import adds everything else.
    """

    # A stack that only referred to these resources by name would not manage them: their policies would go on
    # naming roles and queues that are gone. The import needs this small stack because it refuses a template
    # that names resources which are not imported (CloudFormation user guide, "Import AWS resources into a
    # CloudFormation stack"). In a Firstboot the bucket names a queue, and the key's policy names roles.

    def __init__(self, scope: Construct, construct_id: str, configuration: Configuration) -> None:
        super().__init__(scope, construct_id)
        DeviceRecords(self, "Registry")
        Store(self, "Store")
        signing_key(Construct(self, "Authority"), configuration)
