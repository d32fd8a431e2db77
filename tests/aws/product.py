"""The product's Lambda functions over moto, called as API Gateway calls them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
from cryptography import x509

from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.aws.iot.policies import IotPolicies
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import NONCE_KEY, PASSWORD_KEY, PUBLISHED_FLEET_KEY
from firstboot.policy.render import Place
from firstboot.register.sweep import grant_policies, service_policies
from firstboot.register.target import Account
from tests import factories, proofs
from tests.aws.lambdas import Lambdas
from tests.factories import Authority

HOST = "devices.example.com"
CONTEXT: Any = SimpleNamespace(
    function_name="f", memory_limit_in_mb=128, invoked_function_arn="arn", aws_request_id="r"
)


@dataclass
class Answer:
    """The answer to a call, with header names in lower case."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Product:
    """The deployed Lambda functions, and the resources that a test may read beside them."""

    factory: Authority
    fleet: Fleet
    ca: x509.Certificate
    table: str
    bucket: str
    lambdas: Lambdas = field(default_factory=Lambdas)
    boards: dict[str, factories.PrivateKey] = field(default_factory=dict)

    @property
    def records(self) -> DynamoDevices:
        """The adapter for device records."""
        return DynamoDevices(clients.dynamodb(), self.table)

    def bootstrap(self, device_id: str) -> x509.Certificate:
        """Return a new bootstrap certificate of the device's board, which has one key."""
        return self.factory.issue(device_id, self.boards.setdefault(device_id, factories.ec_key()))

    def enroll(
        self, leaf: x509.Certificate, key: factories.PrivateKey | None = None, **members: Any
    ) -> Answer:
        """Ask for a certificate: POST /v1/certificates."""
        body = {"csr": factories.pem(factories.csr(key or factories.ec_key()))} | members
        return self.call("POST", "/v1/certificates", leaf, json.dumps(body))

    def identity(self, device_id: str) -> x509.Certificate:
        """Return a device's operational certificate, which was issued and not used."""
        answer = self.enroll(self.bootstrap(device_id))
        assert answer.status == 201, answer.body
        return self.certificate(answer)

    def certificate(self, answer: Answer) -> x509.Certificate:
        """Return the certificate that an answer names."""
        key = f"certificates/{answer.body['deviceId']}/{answer.body['serial']}.pem"
        stored = boto3.client("s3").get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return x509.load_pem_x509_certificates(stored)[0]

    def publish(self, **changes: Any) -> None:
        """Publish a fleet that differs from the deployed one, and restart the functions for it."""
        self.publish_to_warm(**changes)
        self.lambdas.restart_readers()

    def publish_to_warm(self, **changes: Any) -> None:
        """Publish a fleet that differs from the deployed one, which a warm process uses after its refresh."""
        newer = replace(self.fleet, **{"base": self.fleet.hash} | changes)
        boto3.client("s3").put_object(Bucket=self.bucket, Key=PUBLISHED_FLEET_KEY, Body=newer.to_json())

    def call(
        self,
        method: str,
        path: str,
        leaf: x509.Certificate | str | None = None,
        body: str | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        **changes: Any,
    ) -> Answer:
        """Call the Lambda function of a path with an HTTP API event; `leaf` is the client's certificate."""
        event = http_event(method, path, leaf, body, headers or {"content-type": "application/json"}, query)
        is_vend = path.startswith(("/role-aliases", "/sessions", "/v1/device", "/v1/sas"))
        handler = self.lambdas.vend_http if is_vend else self.lambdas.exchange_http
        answer = handler(event | changes, CONTEXT)
        # The longest session token of STS has 4,096 bytes.
        assert len(answer["body"]) <= (5_120 if path.startswith(("/role-aliases", "/sessions")) else 4_096)
        lowered = {name.lower(): value for name, value in answer["headers"].items()}
        return Answer(answer["statusCode"], lowered, json.loads(answer["body"]))

    def prove(
        self,
        method: str,
        path: str,
        key: factories.PrivateKey,
        leaf: x509.Certificate,
        body: str | None = None,
        **changes: Any,
    ) -> Answer:
        """Call on the public host with a signed proof; `changes` are those of proofs.sign."""
        token = proofs.sign(key, leaf, method, f"https://{HOST}{path}", body or "", **changes)
        headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
        return self.call(method, path, None, body, headers)

    def warm_exchange(self) -> None:
        """Let exchange's HTTP function read the fleet, with a request that is refused afterwards."""
        assert self.enroll(self.bootstrap("gw-warm"), deviceId="another").status == 403

    def operate(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Invoke `operate` and return its whole answer, converted through JSON as Lambda does."""
        event = json.loads(json.dumps({"operation": operation, "parameters": parameters}))
        answer: dict[str, Any] = json.loads(json.dumps(self.lambdas.invoke(event, CONTEXT)))
        return answer

    def rows(self) -> list[dict[str, Any]]:
        """Return every row of the table but the keys of nonces and passwords, which the deployment makes."""
        rows = boto3.client("dynamodb").scan(TableName=self.table)["Items"]
        return [row for row in rows if row["pk"]["S"] not in (NONCE_KEY, PASSWORD_KEY)]

    def objects(self) -> list[str]:
        """Return every key under certificates/."""
        listed = boto3.client("s3").list_objects_v2(Bucket=self.bucket, Prefix="certificates/")
        return [entry["Key"] for entry in listed.get("Contents", [])]


def make_policies(fleet: Fleet) -> None:
    """Make the policies in AWS IoT that the sweep makes for a fleet."""
    account = Account("Firstboot", Place("aws", "us-east-1", "123456789012"))
    documents = service_policies(account, fleet.offers) | grant_policies(fleet, account)
    for name, document in documents.items():
        IotPolicies(clients.iot()).ensure(name, document)


def http_event(
    method: str,
    path: str,
    leaf: x509.Certificate | str | None,
    body: str | None,
    headers: dict[str, str],
    query: dict[str, str] | None,
) -> dict[str, Any]:
    """Return an HTTP API event in payload format 2.0."""
    context: dict[str, Any] = {
        "accountId": "123456789012",
        "apiId": "api",
        "domainName": HOST,
        "http": {
            "method": method,
            "path": path,
            "protocol": "HTTP/1.1",
            "sourceIp": "203.0.113.7",
            "userAgent": "test",
        },
        "requestId": "request-1",
        "routeKey": f"{method} {path}",
        "stage": "$default",
        "time": "22/Nov/2026:10:39:39 +0000",
        "timeEpoch": int(datetime.now(UTC).timestamp() * 1000),
    }
    if leaf is not None:
        pem = leaf if isinstance(leaf, str) else factories.pem(leaf)
        context["authentication"] = {"clientCert": {"clientCertPem": pem}}
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": context["routeKey"],
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": context,
        "isBase64Encoded": False,
    }
    return (
        event
        | ({"body": body} if body is not None else {})
        | ({"queryStringParameters": query} if query else {})
    )
