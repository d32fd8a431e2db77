"""The `operate` Lambda, which carries out the operator's calls."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Aws, Stack
from constructs import Construct

from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.operate.settings import OperateSettings
from infra.authority import Authority
from infra.deployment import Deployment
from infra.function import Function
from infra.iot import arn, spelled
from infra.nag import acknowledge, arn_of
from infra.queue import Queue
from infra.storage import Store

_TAKE = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]


@dataclass(frozen=True)
class DeadLettersOf:
    """A dead-letter queue, and the queue whose messages it holds.

    Without `source` it holds requests of devices, which are never handled again.
    """

    dead: Queue
    source: Queue | None = None

    @property
    def urls(self) -> dict[str, str]:
        """The URLs in the form of `operate`'s setting."""
        # CDK leaves nulls out of its JSON, so a missing source has no key.
        source = {"source": self.source.queue_url} if self.source else {}
        return {"dead": self.dead.queue_url} | source


class Operate(Function):
    """The Lambda that reads and changes device records, publishes fleets and handles dead letters.

    A caller who may invoke it may make every call.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        authority: Authority,
        dead_letters: dict[str, DeadLettersOf],
    ) -> None:
        device_records, store = deployment.device_records, deployment.store
        super().__init__(scope, construct_id, code=deployment.code, handler="operate.invoke", seconds=30)
        self.configure(
            OperateSettings(
                table=device_records.table_name,
                bucket=store.bucket_name,
                ca_certificate=authority.certificate,
                partition=Aws.PARTITION,
                region=Aws.REGION,
                account=Aws.ACCOUNT_ID,
                dead_letters=Stack.of(self).to_json_string(
                    {name: each.urls for name, each in dead_letters.items()}
                ),
                public_host=str(deployment.configuration.public).lower(),
            )
        )
        self.permit(["dynamodb:GetItem", "dynamodb:Scan", "dynamodb:UpdateItem"], device_records.table_arn)
        self.permit(["s3:PutObject"], store.arn_for_objects(PUBLISHED_FLEET_KEY))
        store.permit_reading(self, PUBLISHED_FLEET_KEY)
        self.permit(_TAKE, *(each.dead.queue_arn for each in dead_letters.values()))
        self.permit(
            ["sqs:SendMessage"], *(each.source.queue_arn for each in dead_letters.values() if each.source)
        )
        # A bootstrap certificate is revoked in AWS IoT too, under each id that it may have there.
        self.permit(["iot:UpdateCertificate"], arn("cert/*"))
        self._permit_importing(store)
        # An import checks that no other device has claimed the key.
        self.permit(["dynamodb:ConditionCheckItem"], device_records.table_arn)
        # A lost certificate is read from an older version of its object.
        self.permit(["s3:ListBucketVersions"], store.bucket_arn)
        self.permit(["s3:GetObjectVersion"], store.arn_for_objects("certificates/*"))

    def _permit_importing(self, store: Store) -> None:
        """Let `operate` look up a thing's certificates, store them among the issued ones and read those."""
        self.permit(["iot:ListThingPrincipals"], arn("thing/*"))
        self.permit(["iot:DescribeCertificate"], arn("cert/*"))
        self.permit(["s3:GetObject", "s3:PutObject"], store.arn_for_objects("certificates/*"))
        acknowledge(
            self.own_role,
            {
                f"IAM5[Resource::{spelled('thing/*')}]": "An imported device may have any name.",
                f"IAM5[Resource::{spelled('cert/*')}]": "A certificate's id is its digest.",
                f"IAM5[Resource::{arn_of(store)}/certificates/*]": "Each certificate is an object.",
            },
        )
