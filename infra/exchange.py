"""`exchange`: CSR in, certificate out, over HTTPS and MQTT."""

from __future__ import annotations

from constructs import Construct

from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.exchange.settings import ExchangeSettings
from infra.authority import Authority, permit_signing
from infra.deployment import Deployment
from infra.function import Function
from infra.nag import acknowledge, arn_of


class Exchange(Function):
    """Claims in the table, signs with the CA's key, writes the certificate to the bucket. It answers
    the API; `mqtt` is its twin behind topic rules, which takes no event of an API.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        authority: Authority,
    ) -> None:
        device_records, store = deployment.device_records, deployment.store
        super().__init__(
            scope, construct_id, code=deployment.code, handler="exchange.http", seconds=9, memory=1024
        )
        self.mqtt = Function(
            scope,
            f"{construct_id}Mqtt",
            code=deployment.code,
            handler="exchange.mqtt",
            seconds=9,
            memory=1024,
        )
        self.settings = ExchangeSettings(
            table=device_records.table_name,
            bucket=store.bucket_name,
            ca_certificate=authority.certificate,
            ca_key=authority.key.key_arn,
            mqtt_host=authority.mqtt_host,
            mqtt_port=str(deployment.configuration.mqtt_port),
            fleet_refresh=str(deployment.configuration.fleet_refresh),
        )
        for function in (self, self.mqtt):
            function.configure(self.settings)
            # A claim is a TransactWriteItems of updates, a commit one update.
            function.permit(["dynamodb:GetItem", "dynamodb:UpdateItem"], device_records.table_arn)
            function.permit(["s3:PutObject"], store.arn_for_objects("certificates/*"))
            store.permit_reading(function, PUBLISHED_FLEET_KEY, "certificates/*")
            permit_signing(authority.key, function)
            acknowledge(
                function.own_role,
                {f"IAM5[Resource::{arn_of(store)}/certificates/*]": "One object a certificate."},
            )
