"""`operate`: the operator's calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Aws, Stack
from constructs import Construct

from firstboot.domain import topics
from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.operate.settings import OperateSettings
from infra.deployment import Deployment
from infra.function import Function
from infra.iot import arn, spelled
from infra.mqtt import permit_answers
from infra.nag import acknowledge, arn_of
from infra.queue import Queue
from infra.storage import Store

_TAKE = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]


@dataclass(frozen=True)
class DeadLettersOf:
    """A dead-letter queue, and the queue whose letters it holds; None: requests to `functions`."""

    dead: Queue
    source: Queue | None = None

    @property
    def urls(self) -> dict[str, str]:
        """As `operate` is told; CDK leaves a null out of its JSON."""
        source = {"source": self.source.queue_url} if self.source else {}
        return {"dead": self.dead.queue_url} | source


class Operate(Function):
    """Reads and changes records, publishes fleets. Who may do so is who may invoke it. Failed requests
    are handed to `functions` again.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        functions: Sequence[Function],
        dead_letters: dict[str, DeadLettersOf],
    ) -> None:
        device_records, store = deployment.device_records, deployment.store
        super().__init__(scope, construct_id, code=deployment.code, handler="operate.invoke", seconds=30)
        self.configure(
            OperateSettings(
                table=device_records.table_name,
                bucket=store.bucket_name,
                partition=Aws.PARTITION,
                region=Aws.REGION,
                account=Aws.ACCOUNT_ID,
                dead_letters=Stack.of(self).to_json_string(
                    {name: each.urls for name, each in dead_letters.items()}
                ),
            )
        )
        self.permit(["dynamodb:GetItem", "dynamodb:Scan", "dynamodb:UpdateItem"], device_records.table_arn)
        self.permit(["s3:PutObject"], store.arn_for_objects(PUBLISHED_FLEET_KEY))
        store.permit_reading(self, PUBLISHED_FLEET_KEY)
        self.permit(_TAKE, *(each.dead.queue_arn for each in dead_letters.values()))
        self.permit(
            ["sqs:SendMessage"], *(each.source.queue_arn for each in dead_letters.values() if each.source)
        )
        # Requests go back to who failed on them, or to their clients.
        self.permit(["lambda:InvokeFunction"], *(function.function_arn for function in functions))
        permit_answers(self, "rejected", *topics.CALLS)
        self._permit_importing(store)

    def _permit_importing(self, store: Store) -> None:
        """Look up a thing's certificates, and put them where ours are."""
        self.permit(["iot:ListThingPrincipals"], arn("thing/*"))
        self.permit(["iot:DescribeCertificate"], arn("cert/*"))
        self.permit(["s3:PutObject"], store.arn_for_objects("certificates/*"))
        acknowledge(
            self.own_role,
            {
                f"IAM5[Resource::{spelled('thing/*')}]": "A device that is imported may have any name.",
                f"IAM5[Resource::{spelled('cert/*')}]": "A certificate's id is its hash.",
                f"IAM5[Resource::{arn_of(store)}/certificates/*]": "One object a certificate.",
            },
        )
