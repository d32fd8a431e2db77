"""The `exchange` Lambdas, which answer a CSR with a certificate over HTTPS and over MQTT."""

from __future__ import annotations

from aws_cdk import Aws
from constructs import Construct

from firstboot.domain import secret_keys
from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.exchange.settings import ExchangeSettings
from infra.authority import Authority, permit_signing
from infra.deployment import Deployment
from infra.function import Function
from infra.nag import acknowledge, arn_of
from infra.secrets import permit_reading


class Exchange(Function):
    """The Lambda that answers the API.

    `mqtt` is the Lambda behind topic rules, with the same code and rights. Both claim in the table, sign with
    the CA's key and write the certificate to the bucket.
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
        # One Lambda for both would have to tell a rule's event from an API's by its content, which the device
        # chooses.
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
            account=Aws.ACCOUNT_ID,
            # In the environment a Lambda has the CA certificate of its deployment, without a call or a cache.
            ca_certificate=authority.certificate,
            ca_key=authority.key.key_arn,
            mqtt_host=authority.mqtt_host,
            mqtt_port=str(deployment.configuration.mqtt_port),
            fleet_refresh=str(deployment.configuration.fleet_refresh),
            kms_rate=str(deployment.configuration.kms_rate),
        )
        for role, function in {"exchange": self, "exchangeMqtt": self.mqtt}.items():
            function.configure(self.settings)
            # A claim is a TransactWriteItems of updates and of the checks that the bootstrap certificate is
            # not revoked and has not guessed too many device ids. A commit is one of updates.
            device_records.permit_rows(function, role)
            function.permit(["s3:PutObject"], store.arn_for_objects("certificates/*"))
            store.permit_reading(function, PUBLISHED_FLEET_KEY, "certificates/*")
            permit_signing(authority.key, function)
            acknowledge(
                function.own_role,
                {f"IAM5[Resource::{arn_of(store)}/certificates/*]": "Each certificate is an object."},
            )
        # Azure's protocol is served over HTTPS only.
        if "dps" in deployment.fleet.offers:
            permit_reading(self, secret_keys.GROUPS)
