"""What a deleted stack leaves on purpose, alone in a stack, for `cdk import` to take back."""

from __future__ import annotations

from aws_cdk import Stack
from constructs import Construct

from infra.authority import SigningKey
from infra.storage import Registry, Store


class RetainedStack(Stack):
    """The table, the bucket and the CA's key, under the logical ids that FirstbootStack gives them.

    An import takes only templates in which nothing names what is not imported (CloudFormation user
    guide, "Import AWS resources into a CloudFormation stack"); in the whole stack the bucket names a
    queue, and the key's policy roles. The deployment that follows adds them.
    """

    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name, description="Firstboot: what a deleted stack has left")
        Registry(self, "Registry")
        Store(self, "Store")
        SigningKey(Construct(self, "Authority"), "Key")
