"""A deployment over moto without its Lambda functions, and repairs of moto."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from moto.kms.responses import KmsResponse
from moto.kms.utils import ECDSAPrivateKey

from firstboot.aws import clients, connections, local_host
from firstboot.aws.kms import KmsKey, public_key
from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import FLEET_ROLE_PATH, fleet_role
from firstboot.exchange.settings import ExchangeSettings
from firstboot.operate.settings import OperateSettings
from firstboot.pki.profile import authority_certificate
from firstboot.register.settings import WorkSettings
from firstboot.vend.settings import VendSettings
from tests import factories
from tests.aws import bridge

REGION = "us-east-1"
ACCOUNT = "123456789012"
# As with AWS IoT, a certificate's id is the hash of its DER.
MOTO: Any = {"iot": {"use_valid_cert": True}}


bridge.install()


def _sign_digest(key: ECDSAPrivateKey, message: bytes, signing_algorithm: str) -> bytes:
    assert signing_algorithm == "ECDSA_SHA_256"
    return key.private_key.sign(message, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


def prepare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of a Lambda function. moto's KMS is patched where it differs from AWS.

    It would hash a DIGEST again, and accept RAW messages of any length.
    """
    for variable, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "POWERTOOLS_METRICS_NAMESPACE": "Firstboot",
    }.items():
        monkeypatch.setenv(variable, value)
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    answer = KmsResponse.sign

    def sign(request: KmsResponse) -> str:
        assert request._get_param("MessageType") == "DIGEST", (
            "KMS refuses long RAW messages, and moto does not"
        )
        return answer(request)

    monkeypatch.setattr(KmsResponse, "sign", sign)
    monkeypatch.setattr(ECDSAPrivateKey, "sign", _sign_digest)


def forget_clients() -> None:
    """Let the product make its clients anew."""
    for made in (
        *(clients.dynamodb, clients.dynamodb_streams, clients.kms, clients.s3, clients.sts),
        *(clients.iot, clients.iot_data, clients.secrets_manager, clients.sqs, bridge.events),
        *(connections.connections, local_host.source),
    ):
        made.cache_clear()


def make_table() -> str:
    """Make the table, and return its name."""
    boto3.client("dynamodb").create_table(
        TableName="device-records",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return "device-records"


def make_bucket() -> str:
    """Make the bucket for certificates, and return its name."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="certificates")
    s3.put_bucket_versioning(Bucket="certificates", VersioningConfiguration={"Status": "Enabled"})
    return "certificates"


def make_ca_key() -> str:
    """Make the CA's key in KMS, and return its ARN."""
    answer: Any = boto3.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    return str(answer["KeyMetadata"]["Arn"])


def make_ca(ca_key: str) -> x509.Certificate:
    """Return the issuing CA's certificate, self-signed by the key in KMS."""
    client = clients.kms()
    key = KmsKey(client, ca_key, public_key(client, ca_key))
    return authority_certificate(key, "Firstboot issuing CA", datetime.now(UTC), 10)


def configure(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    fleet: Fleet,
    table: str,
    bucket: str,
    ca_key: str,
    issuing_ca: x509.Certificate,
) -> None:
    """Make the queues and a fleet role, and put every function's settings into the environment."""
    boto3.client("iam").create_role(
        Path=FLEET_ROLE_PATH, RoleName=fleet_role(REGION, "telemetry"), AssumeRolePolicyDocument="{}"
    )
    exchange_settings = ExchangeSettings(
        table=table,
        bucket=bucket,
        account=ACCOUNT,
        ca_certificate=factories.pem(issuing_ca),
        ca_key=ca_key,
        mqtt_host="iot.example.com",
        mqtt_port="8883",
        fleet_refresh="60",
        kms_rate="1000",
        stack="Firstboot",
    )
    vend_settings = VendSettings(
        table=table,
        bucket=bucket,
        ca_certificate=factories.pem(issuing_ca),
        partition="aws",
        region=REGION,
        account=ACCOUNT,
        fleet_refresh="60",
        sts_rate="600",
        iot_rate="7",
        stack="Firstboot",
    )
    operate_settings = OperateSettings(
        table=table,
        bucket=bucket,
        ca_certificate=factories.pem(issuing_ca),
        partition="aws",
        region=REGION,
        account=ACCOUNT,
        dead_letters=json.dumps(_dead_letters()),
        stack="Firstboot",
        public_host="true",
    )
    sqs = boto3.client("sqs")
    urgent, changes, registrations = (
        sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("urgent", "changes", "registrations")
    )
    register_settings = WorkSettings(
        table=table,
        bucket=bucket,
        stack="Firstboot",
        partition="aws",
        region=REGION,
        account=ACCOUNT,
        urgent_queue=urgent,
        changes_queue=changes,
        certificates_queue=registrations,
        iot_rate="1000",
        fleet_refresh="60",
    )
    monkeypatch.setenv("FIRSTBOOT_PASSED_QUEUE", sqs.create_queue(QueueName="passed")["QueueUrl"])
    all_settings = exchange_settings, vend_settings, operate_settings, register_settings
    for settings in all_settings:
        for name, value in settings.environment().items():
            monkeypatch.setenv(name, value)
    (folder / "fleet.json").write_text(fleet.to_json())
    monkeypatch.setattr(aws_fleet, "_DEPLOYED", folder / "fleet.json")


def _dead_letters() -> dict[str, dict[str, str]]:
    sqs = boto3.client("sqs")
    made = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("requests", "dead", "work")}
    return {
        "requests": {"dead": made["requests"]},
        "registrations": {"dead": made["dead"], "source": made["work"]},
    }
