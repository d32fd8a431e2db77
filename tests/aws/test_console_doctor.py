"""`console doctor` over moto.

CloudFormation, Service Quotas and API Gateway are stand-ins, because moto's need packages that no other test
needs, have no quotas of these services, and have no mutual TLS.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner, Result

from console import cloud, hosts
from console.__main__ import app
from console.commands import doctor
from console.diagnosis import Level, Line
from firstboot.domain.names import AUTHORITY_KEY, TRUSTSTORE_KEY
from tests import factories
from tests.aws.invoked import InProcess
from tests.aws.product import Product

QUOTAS = {
    "iotcore": {
        "RegisterCertificateWithoutCA API TPS": 10,
        "UpdateCertificate API TPS": 10,
        "AttachPolicy API TPS": 15,
    },
    "kms": {"Cryptographic operations (ECC) request rate": 1000},
    "lambda": {"Concurrent executions": 1000},
    "apigateway": {"Throttle rate": 10000},
}


def reserving(handler: str) -> dict[str, Any]:
    """Return a Lambda of a template, with a reserved concurrency."""
    properties = {"Handler": handler, "ReservedConcurrentExecutions": 50}
    return {"Type": "AWS::Lambda::Function", "Properties": properties}


def stage(rate: int) -> dict[str, Any]:
    """Return the stage of a host of a template, with a throttle in requests a second."""
    settings = {"POST /v1/certificates": {"ThrottlingRateLimit": rate}}
    return {"Type": "AWS::ApiGatewayV2::Stage", "Properties": {"RouteSettings": settings}}


TEMPLATE: dict[str, Any] = {
    "Resources": {
        "Work": {
            "Type": "AWS::Lambda::Function",
            "Properties": {"Environment": {"Variables": {"FIRSTBOOT_IOT_RATE": "7"}}},
        },
        "VendMqtt": reserving("vend.mqtt"),
        "VendPublic": reserving("vend.http"),
        "Stage": stage(100),
        "MtlsStage": stage(200),
    }
}
STACK_ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/Firstboot/0"


class Account:
    """The AWS account that the doctor sees, for tests to change. Services without a stand-in are moto's."""

    def __init__(self, product: Product, ca_key: str) -> None:
        self.product, self.ca_key = product, ca_key
        self.quotas = {service: dict(values) for service, values in QUOTAS.items()}
        self.executions = 1_000
        self.codes: dict[str, str] = {}
        self.refused: set[str] = set()
        self.template = deepcopy(TEMPLATE)
        self.outputs = {
            "OperateFunction": "operate",
            "ReadFunction": "read",
            "ExchangeFunction": "exchange",
            "PublicUrl": "https://public.example",
            "CertificatesBucket": product.bucket,
            "MtlsUrl": "https://devices.example.com",
            "MtlsAlias": "alias.example",
        }
        self.s3 = boto3.client("s3")
        self.truststore(factories.pem(product.factory.certificate) + factories.pem(product.ca))
        self.s3.put_object(Bucket=product.bucket, Key=AUTHORITY_KEY, Body=factories.pem(product.ca).encode())

    def truststore(self, text: str) -> None:
        """Store another truststore, and have the mTLS host use it."""
        made = self.s3.put_object(Bucket=self.product.bucket, Key=TRUSTSTORE_KEY, Body=text.encode())
        self.version = made["VersionId"]

    def client(self, service: str) -> Any:
        """Return the client that the console gets for a service.

        Raises ClientError for a service in `refused`.
        """
        if service in self.refused:
            error = {"Error": {"Code": "AccessDeniedException", "Message": f"not {service}"}}
            raise ClientError(error, "Any")  # type: ignore[arg-type]
        made: dict[str, Callable[[], Any]] = {
            "cloudformation": self._cloudformation,
            "service-quotas": self._service_quotas,
            "lambda": self._lambda,
            "apigatewayv2": self._apigateway,
        }
        real: Any = boto3.client  # its stubs know each service by name
        return made[service]() if service in made else real(service)

    def _cloudformation(self) -> Any:
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in self.outputs.items()]
        return SimpleNamespace(
            describe_stacks=lambda **_: {"Stacks": [{"StackId": STACK_ID, "Outputs": outputs}]},
            get_template=lambda **_: {"TemplateBody": self.template},
        )

    def _service_quotas(self) -> Any:
        def paginate(ServiceCode: str) -> Any:  # noqa: N803
            values = self.quotas[ServiceCode].items()
            for name, value in values:
                code = self.codes.get(name, f"L-{name}")
                yield {"Quotas": [{"QuotaName": name, "QuotaCode": code, "Value": value}]}

        return SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=paginate))

    def _lambda(self) -> Any:
        made: Any = InProcess(self.product)
        variables = {"FIRSTBOOT_CA_KEY": self.ca_key}
        limit = {"ConcurrentExecutions": self.executions}
        made.get_account_settings = lambda: {"AccountLimit": limit}
        made.get_function_configuration = lambda **_: {"Environment": {"Variables": variables}}
        return made

    def _apigateway(self) -> Any:
        trust = {"TruststoreVersion": self.version}
        return SimpleNamespace(get_domain_name=lambda **_: {"MutualTlsAuthentication": trust})


@pytest.fixture
def account(product: Product, ca_key: str, monkeypatch: pytest.MonkeyPatch) -> Account:
    """A stack without faults, whose hosts answer."""
    made = Account(product, ca_key)
    monkeypatch.setattr(cloud, "client", made.client)
    for name in ("public", "mtls", "presigned"):
        monkeypatch.setattr(hosts, name, lambda *_, name=name: Line(Level.OK, name, "answers"))
    return made


Examine = Callable[[], tuple[Result, dict[str, dict[str, str]]]]


@pytest.fixture
def examine(account: Account) -> Examine:
    """Return a function that runs the doctor and returns the result, and its lines by what they are about."""

    def run() -> tuple[Result, dict[str, dict[str, str]]]:
        result = CliRunner().invoke(app, ["doctor", "--json"])
        return result, {line["what"]: line for line in json.loads(result.stdout)["lines"]}

    return run


def test_a_stack_in_good_health(examine: Examine) -> None:
    """Each check of a stack without faults has an `ok` line, and the exit code is 0."""
    result, lines = examine()
    assert result.exit_code == 0, result.output
    assert {line["level"] for line in lines.values()} == {"ok"}
    quotas = {f"{service}: {name}" for service, values in QUOTAS.items() for name in values}
    others = {
        "CA key",
        "CA certificate",
        "trust anchors",
        "truststore",
        "mTLS host's truststore",
        "AWS IoT policies",
        "concurrency for MQTT",
        "concurrency of the public host",
        "Lambda's concurrency",
    }
    assert set(lines) == quotas | others | {"public", "mtls", "presigned"}


def test_a_person_reads_a_line_each(account: Account) -> None:
    """A line for a person begins with the level."""
    shown = CliRunner().invoke(app, ["doctor"]).stdout.splitlines()
    assert "ok      CA key: enabled, and the CA certificate is for it" in shown


def test_a_quota_below_the_stacks_rate_fails(account: Account, examine: Examine) -> None:
    """A quota of AWS IoT below the rate that the stack was deployed with is a failure."""
    account.quotas["iotcore"]["AttachPolicy API TPS"] = 13
    result, lines = examine()
    assert result.exit_code == 1
    assert lines["iotcore: AttachPolicy API TPS"]["detail"] == "13; the stack can use 14"


def test_a_quota_that_aws_renamed_is_found(account: Account, examine: Examine) -> None:
    """A quota under another name is found by its code."""
    del account.quotas["iotcore"]["AttachPolicy API TPS"]
    account.quotas["iotcore"]["Rate of AttachPolicy"] = 13
    account.codes["Rate of AttachPolicy"] = "L-CA7D4E3E"
    result, lines = examine()
    assert result.exit_code == 1
    assert lines["iotcore: AttachPolicy API TPS"]["detail"] == "13; the stack can use 14"


def test_a_new_accounts_lambdas_are_a_warning(account: Account, examine: Examine) -> None:
    """The low Lambda concurrency of a new account is a warning, not a failure."""
    account.quotas["lambda"]["Concurrent executions"] = 10
    result, lines = examine()
    assert (result.exit_code, lines["lambda: Concurrent executions"]["level"]) == (0, "warn")


def test_the_doctor_names_what_may_be_reserved(account: Account, examine: Examine) -> None:
    """In an account with little concurrency, the doctor names the value of the two settings."""
    for name in ("VendMqtt", "VendPublic"):
        del account.template["Resources"][name]
    account.executions = 200
    result, lines = examine()
    line = lines["Lambda's concurrency"]
    assert (result.exit_code, line["level"]) == (0, "warn")
    assert line["detail"].endswith("it allows 20 for mqttConcurrency and publicConcurrency")


def test_a_host_is_counted_by_its_throttle_or_its_concurrency(account: Account, examine: Examine) -> None:
    """The quotas of KMS and API Gateway are for both hosts, and Lambda's for what no concurrency bounds."""
    _, lines = examine()
    used = {what: line["detail"].rpartition(" ")[2] for what, line in lines.items() if ": " in what}
    assert used["kms: Cryptographic operations (ECC) request rate"] == "300"
    assert used["apigateway: Throttle rate"] == "300"
    assert used["lambda: Concurrent executions"] == "300"  # 200 of the mTLS host and 50 for two functions


def test_a_public_host_that_can_take_all_concurrency_is_a_warning(account: Account, examine: Examine) -> None:
    """A public host without a concurrency of its own is a warning, if there is an mTLS host beside it."""
    del account.template["Resources"]["VendPublic"]
    _, lines = examine()
    assert lines["concurrency of the public host"]["level"] == "warn"
    assert lines["lambda: Concurrent executions"]["detail"] == "1000; the stack can use 350"
    del account.template["Resources"]["MtlsStage"]
    _, lines = examine()
    assert "concurrency of the public host" not in lines


def test_a_stack_without_a_public_host(account: Account, examine: Examine) -> None:
    """Without a public host, a fleet in force whose expired certificates may renew is a warning."""
    del account.outputs["PublicUrl"]
    result, lines = examine()
    assert (result.exit_code, lines["public host"]["level"]) == (0, "warn")
    assert "gateways: certificate.grace_days is 90" in lines["public host"]["detail"]
    gateways = account.product.fleet.groups["gateways"]
    none = replace(gateways, certificate=replace(gateways.certificate, grace_days=0))
    account.product.publish(groups={"gateways": none})
    _, lines = examine()
    assert lines["public host"]["level"] == "ok"


def test_a_disabled_key_fails(account: Account, examine: Examine) -> None:
    """A disabled CA key is a failure, and the other checks still run."""
    boto3.client("kms").disable_key(KeyId=account.ca_key.rpartition("/")[2])  # moto wants the id
    result, lines = examine()
    assert (result.exit_code, lines["CA key"]["level"], lines["truststore"]["level"]) == (1, "fail", "ok")


def test_another_key_fails(account: Account, examine: Examine) -> None:
    """A CA key whose public key is not in the CA certificate is a failure."""
    made: Any = boto3.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    account.ca_key = made["KeyMetadata"]["Arn"]
    result, lines = examine()
    assert (result.exit_code, lines["CA key"]["level"]) == (1, "fail")


def test_a_truststore_without_an_anchor_fails(account: Account, examine: Examine) -> None:
    """A truststore that lacks a trust anchor of the fleet is a failure."""
    account.truststore(factories.pem(account.product.ca))
    result, lines = examine()
    assert (result.exit_code, lines["truststore"]["level"]) == (1, "fail")


def test_a_truststore_that_the_host_has_not_read_fails(account: Account, examine: Examine) -> None:
    """A truststore that is newer than the one API Gateway uses is a failure."""
    version = account.version
    account.truststore(factories.pem(account.product.factory.certificate) + factories.pem(account.product.ca))
    account.version = version
    result, lines = examine()
    assert (result.exit_code, lines["mTLS host's truststore"]["level"]) == (1, "fail")


def test_a_stack_without_a_domain_has_no_mtls_host(account: Account, examine: Examine) -> None:
    """A stack without a domain has no line about an mTLS host, and no failure."""
    del account.outputs["MtlsUrl"]
    result, lines = examine()
    assert result.exit_code == 0
    assert not {"mtls", "mTLS host's truststore"} & set(lines)


@pytest.mark.parametrize(
    ("service", "what"),
    [
        ("service-quotas", "quotas"),
        ("kms", "CA key"),
        ("s3", "truststore"),
        ("apigatewayv2", "mTLS host's truststore"),
        ("iot", "AWS IoT policies"),
    ],
)
def test_a_refused_call_is_unknown_and_no_failure(
    account: Account, examine: Examine, service: str, what: str
) -> None:
    """A check whose call AWS refuses is `unknown` and names the refusal, and the other checks still run."""
    account.refused.add(service)
    result, lines = examine()
    assert result.exit_code == 0
    assert lines[what]["level"] == "unknown"
    assert lines[what]["detail"].startswith("not known here: ")
    assert f"not {service}" in lines[what]["detail"]
    assert lines["public"]["level"] == "ok"


def test_a_failure_counts_beside_what_is_unknown(account: Account, examine: Examine) -> None:
    """A failed check makes the exit code 1 although another check is unknown."""
    account.refused.add("service-quotas")
    account.truststore(factories.pem(account.product.ca))
    result, lines = examine()
    assert (result.exit_code, lines["quotas"]["level"]) == (1, "unknown")


def policy(name: str, topic: str) -> None:
    """Make an AWS IoT policy that lets clients receive on a topic."""
    resource = f"arn:aws:iot:us-east-1:123456789012:{topic}"
    statement = {"Effect": "Allow", "Action": "iot:Receive", "Resource": resource}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    boto3.client("iot").create_policy(policyName=name, policyDocument=document)


def test_a_policy_of_others_that_hears_devices_is_a_warning(account: Account, examine: Examine) -> None:
    """A policy of others that may receive devices' answers is a warning with its name, and no failure."""
    policy("dashboard", "topic/*")
    policy("app", "topic/app/*")
    policy("Firstboot-grant-mqtt", "topic/*")
    result, lines = examine()
    assert result.exit_code == 0
    found = {what: line for what, line in lines.items() if what.startswith("AWS IoT policies")}
    assert set(found) == {"AWS IoT policies: dashboard"}
    assert found["AWS IoT policies: dashboard"]["level"] == "warn"


def test_the_doctor_reads_some_policies_only(
    account: Account, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor reads a bounded number of policies, and says how many it has not read."""
    monkeypatch.setattr(doctor, "_MOST_POLICIES", 2)
    for name in ("a", "b", "c"):
        policy(name, "topic/app/*")
    _, lines = examine()
    assert lines["AWS IoT policies"]["level"] == "unknown"
    assert lines["AWS IoT policies"]["detail"] == "1 more policies were not read"


def test_no_stack_no_answer(account: Account) -> None:
    """A stack that can't be read makes the exit code 3, as for the other commands."""
    account.refused.add("cloudformation")
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 3


def test_the_doctor_changes_nothing(
    account: Account, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor makes calls that only read."""
    asked: list[str] = []

    def recording(service: str) -> Any:
        client = account.client(service)
        if hasattr(client, "meta"):
            client.meta.events.register("before-call", lambda model, **_: asked.append(model.name))
        return client

    monkeypatch.setattr(cloud, "client", recording)
    policy("others", "topic/app/*")
    examine()
    assert set(asked) == {"DescribeKey", "GetPublicKey", "GetObject", "ListPolicies", "GetPolicy"}
