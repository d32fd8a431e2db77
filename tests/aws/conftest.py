"""AWS in this process (moto), and the product's Lambda functions wired to it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools import Logger
from botocore.loaders import create_loader
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from moto import mock_aws
from moto.kms.responses import KmsResponse
from moto.kms.utils import ECDSAPrivateKey
from typer.testing import CliRunner

from console import cloud
from console.__main__ import app
from firstboot.aws import clients
from firstboot.aws.kms import KmsKey, public_key
from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.domain.names import FLEET_ROLE_PATH, fleet_role
from firstboot.exchange.settings import ExchangeSettings
from firstboot.operate.settings import OperateSettings
from firstboot.pki.profile import authority_certificate
from firstboot.register.settings import WorkSettings
from firstboot.vend.settings import VendSettings
from tests import factories
from tests.aws.invoked import InProcess, Run
from tests.aws.product import Product, fleet, group
from tests.aws.registering import CONFIGURATION, Calls, Registering
from tests.aws.rows_touched import checked

REGION = "us-east-1"
ACCOUNT = "123456789012"


def _sign_digest(key: ECDSAPrivateKey, message: bytes, signing_algorithm: str) -> bytes:
    assert signing_algorithm == "ECDSA_SHA_256"
    return key.private_key.sign(message, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


@pytest.fixture(scope="session", autouse=True)
def _models_once() -> Iterator[None]:
    """Cache boto3's service models, because to read them for each test's session takes half of its time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("botocore.session.create_loader", cache(create_loader))
        yield


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start an empty account. moto's KMS is patched where it differs from AWS.

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
    # As with AWS IoT, a certificate's id is the hash of its DER.
    with mock_aws(config={"iot": {"use_valid_cert": True}}):
        _forget_clients()
        with checked():
            yield
    _forget_clients()


def _forget_clients() -> None:
    for made in (
        *(clients.dynamodb, clients.dynamodb_streams, clients.kms, clients.s3, clients.sts),
        *(clients.iot, clients.iot_data, clients.sqs, clients.session),
    ):
        made.cache_clear()


@pytest.fixture
def table(aws: None) -> str:
    """Make the table, and return its name."""
    boto3.client("dynamodb").create_table(
        TableName="device-records",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return "device-records"


@pytest.fixture
def bucket(aws: None) -> str:
    """Make the bucket for certificates, and return its name."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="certificates")
    s3.put_bucket_versioning(Bucket="certificates", VersioningConfiguration={"Status": "Enabled"})
    return "certificates"


@pytest.fixture
def ca_key(aws: None) -> str:
    """Make the CA's key in KMS, and return its ARN."""
    answer: Any = boto3.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    return str(answer["KeyMetadata"]["Arn"])


@pytest.fixture
def issuing_ca(ca_key: str) -> x509.Certificate:
    """Return the issuing CA's certificate, self-signed by the key in KMS."""
    client = clients.kms()
    key = KmsKey(client, ca_key, public_key(client, ca_key))
    return authority_certificate(key, "Firstboot issuing CA", datetime.now(UTC), 10)


@pytest.fixture
def product(
    table: str,
    bucket: str,
    ca_key: str,
    issuing_ca: x509.Certificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Product:
    """Return the Lambda functions, configured by their environment as in a deployment."""
    factory = factories.authority()
    small = fleet(group("gateways", factory))
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
    )
    vend_settings = VendSettings(
        table=table,
        bucket=bucket,
        ca_certificate=factories.pem(issuing_ca),
        partition="aws",
        region=REGION,
        account=ACCOUNT,
        fleet_refresh="60",
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
    (tmp_path / "fleet.json").write_text(small.to_json())
    monkeypatch.setattr(aws_fleet, "_DEPLOYED", tmp_path / "fleet.json")
    made = Product(factory, small, issuing_ca, table, bucket)
    made.records.make_nonce_key()
    return made


def _dead_letters() -> dict[str, dict[str, str]]:
    sqs = boto3.client("sqs")
    made = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("requests", "dead", "work")}
    return {
        "requests": {"dead": made["requests"]},
        "registrations": {"dead": made["dead"], "source": made["work"]},
    }


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """Yield the log of the Lambda functions during the test."""
    buffer = io.StringIO()
    handlers = [
        cast("logging.StreamHandler[Any]", Logger(service=service).registered_handler)
        for service in ("assign", "authority", "exchange", "operate", "register", "vend")
    ]
    streams = [handler.setStream(buffer) for handler in handlers]
    yield buffer
    for handler, stream in zip(handlers, streams, strict=True):
        handler.setStream(stream)


@pytest.fixture
def run(product: Product, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the console, without a terminal as its standard input."""
    monkeypatch.setattr(cloud, "client", lambda _: InProcess(product))
    return lambda *arguments, **options: CliRunner().invoke(app, arguments, **options)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return the record of every AWS call of `register`."""
    return Calls().patch(monkeypatch)


@pytest.fixture
def registering(product: Product, calls: Calls) -> Registering:
    """Return the product with `register`, a fleet that it has read, and one registered device."""
    made = Registering(product, calls)
    made.publish(configuration=CONFIGURATION)
    made.enroll("gw-0")
    assert made.work("gw-0") == {"batchItemFailures": []}
    return made
