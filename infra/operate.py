"""The `operate` Lambdas: one carries out all of the operator's calls, one only those that change nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.operate.settings import OperateSettings, ReadSettings
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


def _settings(deployment: Deployment) -> ReadSettings:
    """Return the settings that both functions have."""
    return ReadSettings(
        table=deployment.device_records.table_name,
        bucket=deployment.store.bucket_name,
        partition=Aws.PARTITION,
        region=Aws.REGION,
        account=Aws.ACCOUNT_ID,
        public_host=str(deployment.configuration.public).lower(),
    )


def _permit_reading(function: Function, role: str, deployment: Deployment) -> None:
    """Let one of the functions read device records and the published fleet; `role` decides on other rows."""
    deployment.device_records.permit_rows(function, role)
    function.permit(["dynamodb:Scan"], deployment.device_records.table_arn)
    deployment.store.permit_reading(function, PUBLISHED_FLEET_KEY)


class ReadOnlyOperate(Function):
    """The Lambda of the calls that change nothing, for support staff. Its role may write nothing."""

    def __init__(self, scope: Construct, construct_id: str, *, deployment: Deployment) -> None:
        super().__init__(scope, construct_id, code=deployment.code, handler="operate.read", seconds=30)
        self.configure(_settings(deployment))
        _permit_reading(self, "read", deployment)


class Operate(Function):
    """The Lambda that reads and changes device records, publishes fleets and handles dead letters.

    A caller who may invoke it may make every call. `read` is the Lambda of the calls that change nothing.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        authority: Authority,
        dead_letters: dict[str, DeadLettersOf],
        read: ReadOnlyOperate,
    ) -> None:
        self._read = read
        store = deployment.store
        super().__init__(scope, construct_id, code=deployment.code, handler="operate.invoke", seconds=30)
        self.configure(
            OperateSettings(
                **asdict(_settings(deployment)),
                ca_certificate=authority.certificate,
                dead_letters=Stack.of(self).to_json_string(
                    {name: each.urls for name, each in dead_letters.items()}
                ),
                stack=Stack.of(self).stack_name,
            )
        )
        _permit_reading(self, "operate", deployment)
        self.permit(["s3:PutObject"], store.arn_for_objects(PUBLISHED_FLEET_KEY))
        self.permit(_TAKE, *(each.dead.queue_arn for each in dead_letters.values()))
        self.permit(
            ["sqs:SendMessage"], *(each.source.queue_arn for each in dead_letters.values() if each.source)
        )
        # A bootstrap certificate is revoked in AWS IoT too, under each id that it may have there.
        self.permit(["iot:UpdateCertificate"], arn("cert/*"))
        self._permit_importing(store)
        # A lost certificate is read from an older version of its object.
        self.permit(["s3:ListBucketVersions"], store.bucket_arn)
        self.permit(["s3:GetObjectVersion"], store.arn_for_objects("certificates/*"))

    def grant_invoke(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let a principal make every call. The console makes those that only read to the other Lambda."""
        self._read.grant_invoke(grantee)
        return super().grant_invoke(grantee)

    def _permit_importing(self, store: Store) -> None:
        """Let `operate` look up a thing's certificates, store them among the issued ones and read those.

        It also sees whether thing and certificate have room for what an import adds to them.
        """
        self.permit(["iot:ListThingPrincipals", "iot:ListThingGroupsForThing"], arn("thing/*"))
        self.permit(["iot:DescribeCertificate"], arn("cert/*"))
        self.permit(["iot:ListAttachedPolicies"], "*")
        self.permit(["s3:GetObject", "s3:PutObject"], store.arn_for_objects("certificates/*"))
        acknowledge(
            self.own_role,
            {
                f"IAM5[Resource::{spelled('thing/*')}]": "An imported device may have any name.",
                f"IAM5[Resource::{spelled('cert/*')}]": "A certificate's id is its digest.",
                "IAM5[Resource::*]": "ListAttachedPolicies and X-Ray's actions have no resource type.",
                f"IAM5[Resource::{arn_of(store)}/certificates/*]": "Each certificate is an object.",
            },
        )
