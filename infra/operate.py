"""`operate`: the operator's calls."""

from __future__ import annotations

from aws_cdk import Aws, Stack
from constructs import Construct

from firstboot import topics
from firstboot.names import PUBLISHED_FLEET_KEY
from firstboot.settings import OperateSettings
from infra.deployment import Deployment
from infra.function import Function
from infra.mqtt import Mqtt, permit_answers
from infra.newcomers import Newcomers
from infra.register import Queues, Register
from infra.storage import Registry, Store


class Operate(Function):
    """Reads and changes records, publishes fleets. Who may do so is who may invoke it."""

    def __init__(  # noqa: PLR0913 - what can be redriven is in three places
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        registry: Registry,
        store: Store,
        mqtt: Mqtt,
        register: Register,
        newcomers: Newcomers,
    ) -> None:
        super().__init__(scope, construct_id, code=deployment.code, handler="operate.invoke", seconds=30)
        self.configure(
            OperateSettings(
                table=registry.table_name,
                bucket=store.bucket_name,
                partition=Aws.PARTITION,
                region=Aws.REGION,
                account=Aws.ACCOUNT_ID,
                dead_letters=Stack.of(self).to_json_string(
                    {
                        "requests": {"dead": mqtt.undelivered.queue_url, "source": None},
                        "registrations": {
                            "dead": register.queues.dead.queue_url,
                            "source": register.queues.paced.queue_url,
                        },
                        "newcomers": {
                            "dead": newcomers.dead.queue_url,
                            "source": newcomers.queue.queue_url,
                        },
                    }
                ),
            )
        )
        self.permit(["dynamodb:GetItem", "dynamodb:Scan", "dynamodb:UpdateItem"], registry.table_arn)
        self.permit(["s3:PutObject"], store.arn_for_objects(PUBLISHED_FLEET_KEY))
        store.permit_reading(self, PUBLISHED_FLEET_KEY)
        self._permit_redriving(mqtt, register.queues, newcomers)

    def _permit_redriving(self, mqtt: Mqtt, queues: Queues, newcomers: Newcomers) -> None:
        """Take letters out, and hand requests back to who failed on them, or to their clients."""
        taking = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
        self.permit(taking, mqtt.undelivered.queue_arn, queues.dead.queue_arn, newcomers.dead.queue_arn)
        self.permit(["sqs:SendMessage"], queues.paced.queue_arn, newcomers.queue.queue_arn)
        self.permit(["lambda:InvokeFunction"], *(function.function_arn for function in mqtt.functions))
        permit_answers(self, "rejected", *topics.CALLS)
