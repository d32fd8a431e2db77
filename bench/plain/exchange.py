"""Certifies devices' keys: the Lambda that `make bench` compares `exchange` with.

It is written as a good engineer would write it in a day: Powertools for routing, logs and metrics, boto3 for
AWS, cryptography for certificates. It makes as many AWS calls as `exchange`, three, and has fewer rules.
"""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.exceptions import BadRequestError, UnauthorizedError
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bench.plain.kms_key import KmsKey

URL_SECONDS = 300
LIFETIME = timedelta(days=365)

logger = Logger(service="exchange")
metrics = Metrics(namespace="Plain", service="exchange")
app = APIGatewayHttpResolver()

table, bucket = os.environ["TABLE"], os.environ["BUCKET"]
ca = x509.load_pem_x509_certificate(os.environ["CA_CERTIFICATE"].encode())
factory = x509.load_pem_x509_certificate(os.environ["FACTORY_CERTIFICATE"].encode())
dynamodb = boto3.client("dynamodb")
s3 = boto3.client("s3", config=Config(signature_version="s3v4"))


@app.post("/v1/certificates")
def certificates() -> tuple[dict[str, Any], int]:
    """Enroll a device: certify the key in its CSR."""
    now = datetime.now(UTC).replace(microsecond=0)
    device = authenticated(now)
    csr = read_csr(app.current_event.json_body["csr"])
    leaf = record_and_sign(device, csr, now)
    key = f"certificates/{device}/{leaf.serial_number:x}.pem"
    chain = leaf.public_bytes(Encoding.PEM) + ca.public_bytes(Encoding.PEM)
    s3.put_object(
        Bucket=bucket, Key=key, Body=chain, ContentType="application/pem-certificate-chain", IfNoneMatch="*"
    )
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=URL_SECONDS
    )
    metrics.add_metric("Enrolled", MetricUnit.Count, 1)
    logger.info("enrolled", device_id=device, serial=f"{leaf.serial_number:x}")
    return {
        "deviceId": device,
        "certificateId": leaf.fingerprint(hashes.SHA256()).hex(),
        "certificateUrl": url,
        "urlExpiresIn": URL_SECONDS,
        "notAfter": leaf.not_valid_after_utc.isoformat(),
        "time": now.isoformat(),
    }, 201


def authenticated(now: datetime) -> str:
    """Return the id of the device whose bootstrap certificate the gateway has seen."""
    presented = app.current_event.request_context.authentication
    if presented is None:
        raise UnauthorizedError("A client certificate is required")
    leaf = x509.load_pem_x509_certificate(presented.client_cert_pem.encode())
    try:
        leaf.verify_directly_issued_by(factory)
    except Exception as error:
        raise UnauthorizedError("The certificate is not the factory's") from error
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise UnauthorizedError("The certificate is not valid now")
    return str(leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def read_csr(pem: str) -> x509.CertificateSigningRequest:
    """Return the CSR if its signature and its key are good."""
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
    except ValueError as error:
        raise BadRequestError("The CSR is malformed") from error
    key = csr.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not csr.is_signature_valid:
        raise BadRequestError("The CSR needs a P-256 key and a valid signature")
    return csr


def record_and_sign(device: str, csr: x509.CertificateSigningRequest, now: datetime) -> x509.Certificate:
    """Record the device, once, and sign its certificate."""
    key, serial = csr.public_key(), x509.random_serial_number()
    spki = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    dynamodb.put_item(
        TableName=table,
        Item={
            "pk": {"S": f"device#{device}"},
            "status": {"S": "enrolled"},
            "serial": {"S": f"{serial:x}"},
            "spki": {"S": spki},
            "enrolledAt": {"S": now.isoformat()},
        },
        ConditionExpression="attribute_not_exists(pk) OR spki = :spki",
        ExpressionAttributeValues={":spki": {"S": spki}},
    )
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign"),
        False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device)]))
        .issuer_name(ca.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, crl_sign=False, encipher_only=False, decipher_only=False, **usage
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .sign(KmsKey(ca), hashes.SHA256())
    )


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an event of API Gateway."""
    return app.resolve(event, context)
