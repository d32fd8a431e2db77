"""Gives devices credentials: the Lambda that `make bench` compares `vend` with.

It is written as a good engineer would write it in a day, with Powertools, boto3, and a table of grants
instead of rules. It makes as many AWS calls as `vend`, two.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.exceptions import ForbiddenError, NotFoundError, UnauthorizedError
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from cryptography import x509
from cryptography.x509.oid import NameOID

logger = Logger(service="vend")
metrics = Metrics(namespace="Plain", service="vend")
app = APIGatewayHttpResolver()

table, account, region = os.environ["TABLE"], os.environ["ACCOUNT"], os.environ["AWS_REGION"]
ca = x509.load_pem_x509_certificate(os.environ["CA_CERTIFICATE"].encode())
dynamodb, sts = boto3.client("dynamodb"), boto3.client("sts")

GRANTS = {
    "telemetry": [
        {
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::acme-telemetry-{account}-{region}/{device}/*",
        }
    ]
}
"""The statements of a session by role alias."""

SECONDS = 3600


@app.get("/role-aliases/<alias>/credentials")
def credentials(alias: str) -> dict[str, Any]:
    """Return credentials of a session with the device's own rights."""
    now = datetime.now(UTC)
    device = authenticated(now)
    if alias not in GRANTS:
        raise NotFoundError("There is no such role alias")
    answer = sts.assume_role(
        RoleArn=f"arn:aws:iam::{account}:role/device-{alias}",
        RoleSessionName=device,
        SourceIdentity=device,
        Policy=policy(alias, device),
        DurationSeconds=SECONDS,
        Tags=[{"Key": "deviceId", "Value": device}, {"Key": "group", "Value": "gateways"}],
    )
    made = answer["Credentials"]
    metrics.add_metric("Vended", MetricUnit.Count, 1)
    logger.info("vended", device_id=device, role_alias=alias)
    return {
        "credentials": {
            "accessKeyId": made["AccessKeyId"],
            "secretAccessKey": made["SecretAccessKey"],
            "sessionToken": made["SessionToken"],
            "expiration": made["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    }


def authenticated(now: datetime) -> str:
    """Return the id of the device whose active certificate the gateway has seen."""
    presented = app.current_event.request_context.authentication
    if presented is None:
        raise UnauthorizedError("A client certificate is required")
    leaf = x509.load_pem_x509_certificate(presented.client_cert_pem.encode())
    try:
        leaf.verify_directly_issued_by(ca)
    except Exception as error:
        raise UnauthorizedError("The certificate is not ours") from error
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise UnauthorizedError("The certificate is not valid now")
    device = str(leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    found = dynamodb.get_item(TableName=table, Key={"pk": {"S": f"device#{device}"}}, ConsistentRead=True)
    record = found.get("Item")
    if record is None or record["status"]["S"] != "enrolled":
        raise ForbiddenError("The device is not enrolled")
    if record["serial"]["S"] != f"{leaf.serial_number:x}":
        raise ForbiddenError("The certificate is not the current one")
    return device


def policy(alias: str, device: str) -> str:
    """Return the session policy of a device."""
    names = {"device": device, "account": account, "region": region}
    statements = [{**each, "Resource": str(each["Resource"]).format(**names)} for each in GRANTS[alias]]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an event of API Gateway."""
    return app.resolve(event, context)
