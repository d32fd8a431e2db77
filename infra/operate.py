"""`operate`: the operator's calls."""

from __future__ import annotations

from aws_cdk import Aws
from constructs import Construct

from firstboot.names import PUBLISHED_FLEET_KEY
from firstboot.settings import OperateSettings
from infra.deployment import Deployment
from infra.function import Function
from infra.storage import Registry, Store


class Operate(Function):
    """Reads and changes records, publishes fleets. Who may do so is who may invoke it."""

    def __init__(
        self, scope: Construct, construct_id: str, *, deployment: Deployment, registry: Registry, store: Store
    ) -> None:
        super().__init__(scope, construct_id, code=deployment.code, handler="operate.invoke", seconds=30)
        self.configure(
            OperateSettings(
                table=registry.table_name,
                bucket=store.bucket_name,
                partition=Aws.PARTITION,
                region=Aws.REGION,
                account=Aws.ACCOUNT_ID,
            )
        )
        self.permit(["dynamodb:GetItem", "dynamodb:Scan", "dynamodb:UpdateItem"], registry.table_arn)
        self.permit(["s3:PutObject"], store.arn_for_objects(PUBLISHED_FLEET_KEY))
        store.permit_reading(self, PUBLISHED_FLEET_KEY)
