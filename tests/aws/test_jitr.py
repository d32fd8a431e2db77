"""JITR: bootstrap certificates that AWS IoT registered by itself are admitted or refused.

moto registers nothing by itself: the certificate is put there as AWS IoT would, and the message is
AWS's documented event. `tests/flows` has the broker do it.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import boto3
import botocore.client
import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError
from cryptography import x509

from firstboot.aws import clients
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.domain.clock import EPOCH
from firstboot.domain.names import DeviceId
from firstboot.policy.render import Place
from firstboot.policy.service import ServicePolicy
from tests import factories
from tests.aws.product import CONTEXT, Product, group

# These follow two calls of the rate limiter, whose last slot is in the past.
ADMITTING = ["DescribeCertificate", "GetItem", "AttachPolicy", "UpdateCertificate", "GetItem"]
BOOTSTRAP = "Firstboot-bootstrap"
PLACE = Place("aws", "us-east-1", "123456789012")
# Of a version that let them do less.
OLD = json.dumps({"Version": "2012-10-17", "Statement": []})


@pytest.fixture(autouse=True)
def _warm(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has read the fleet."""
    monkeypatch.setenv("FIRSTBOOT_STACK", "Firstboot")
    assert tell(product, "0" * 64) == []


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the Lambda logs."""
    buffer = io.StringIO()
    handler = cast("logging.StreamHandler[Any]", Logger(service="register").registered_handler)
    stream = handler.setStream(buffer)
    yield buffer
    handler.setStream(cast("Any", stream))


def arrive(leaf: x509.Certificate, status: Any = "PENDING_ACTIVATION") -> str:
    """Have AWS IoT know the certificate, as after its first connection; its id."""
    made = boto3.client("iot").register_certificate_without_ca(
        certificatePem=factories.pem(leaf), status=status
    )
    return str(made["certificateId"])


def event(*certificate_ids: str) -> dict[str, Any]:
    """What the queue hands on: the members that the rule selects, of AWS's documented event."""
    bodies = [
        {"certificateId": each, "caCertificateId": "c" * 64, "certificateStatus": "PENDING_ACTIVATION"}
        for each in certificate_ids
    ]
    return {
        "Records": [
            {"messageId": f"m{index}", "body": json.dumps(body), "eventSource": "aws:sqs"}
            for index, body in enumerate(bodies)
        ]
    }


def tell(product: Product, *certificate_ids: str) -> list[str]:
    """Invoke the Lambda; the messages that it wants again."""
    answer = product.lambdas.jitr(event(*certificate_ids), CONTEXT)
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def status(certificate_id: str) -> str:
    """The certificate's status in AWS IoT."""
    known = boto3.client("iot").describe_certificate(certificateId=certificate_id)
    return str(known["certificateDescription"]["status"])


def policies(certificate_id: str) -> set[str]:
    """The names of the certificate's policies."""
    iot = boto3.client("iot")
    arn = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["certificateArn"]
    return {policy["policyName"] for policy in iot.list_attached_policies(target=arn)["policies"]}


def in_force() -> Any:
    """What the policy of bootstrap certificates says, and in how many versions."""
    iot = boto3.client("iot")
    versions = iot.list_policy_versions(policyName=BOOTSTRAP)["policyVersions"]
    return json.loads(iot.get_policy(policyName=BOOTSTRAP)["policyDocument"]), len(versions)


def due(policy: ServicePolicy) -> Any:
    """What a policy is to say."""
    return policy.document(PLACE)


class Calls:
    """Every AWS call in order; one may fail before or after it is made, or see something happen first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.failing: tuple[str, bool] | None = None
        self.before: dict[str, Callable[[], object]] = {}
        make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            if client not in (clients.iot(), clients.dynamodb()):
                return make(client, operation, parameters)
            self.made.append(operation)
            self.before.pop(operation, lambda: None)()
            fails, lost = self.failing or ("", False)
            answer = make(client, operation, parameters) if lost or operation != fails else None
            if operation == fails:
                raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, operation)
            return answer

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


def test_awss_documented_event_admits(product: Product) -> None:
    """The whole event, as the developer guide prints it, and not only what the rule selects."""
    certificate = arrive(product.bootstrap("gw-1"))
    documented = {
        "certificateId": certificate,
        "caCertificateId": "c" * 64,
        "timestamp": 1_795_399_505_443,
        "certificateStatus": "PENDING_ACTIVATION",
        "awsAccountId": "123456789012",
        "certificateRegistrationTimestamp": "1795399505000",
    }
    records = {"Records": [{"messageId": "m", "body": json.dumps(documented)}]}
    assert product.lambdas.jitr(records, CONTEXT) == {"batchItemFailures": []}
    assert (status(certificate), policies(certificate)) == ("ACTIVE", {BOOTSTRAP})


def test_a_device_can_ask_before_it_can_connect(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy comes first: an ACTIVE certificate without one would be refused by the broker."""
    tell(product, arrive(product.bootstrap("gw-1")))
    certificate = arrive(product.bootstrap("gw-2"))
    calls = Calls(monkeypatch)
    assert tell(product, certificate) == []
    assert calls.made[2:] == ADMITTING


def test_the_first_certificate_makes_the_policy(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is nobody's before: a stack that had made it could not be deleted while a certificate has it."""
    certificate = arrive(product.bootstrap("gw-1"))
    calls = Calls(monkeypatch)
    assert tell(product, certificate) == []
    attach = ADMITTING.index("AttachPolicy")
    assert calls.made[2:] == [*ADMITTING[: attach + 1], "CreatePolicy", *ADMITTING[attach:]]
    assert policies(certificate) == {BOOTSTRAP}
    assert in_force() == (due(ServicePolicy.BOOTSTRAP), 1)


def test_a_policy_that_is_there_is_taken_as_it_is(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be an earlier deployment's, of the stack of that name; what it says is the sweep's to change."""
    boto3.client("iot").create_policy(policyName=BOOTSTRAP, policyDocument=OLD)
    certificate = arrive(product.bootstrap("gw-1"))
    calls = Calls(monkeypatch)
    assert tell(product, certificate) == []
    assert calls.made[2:] == ADMITTING
    assert in_force() == (json.loads(OLD), 1)


def test_a_policy_that_vanished_is_made_again(product: Product) -> None:
    """By an operator's hand, or by CloudFormation after an update from a version whose policy it was."""
    first = arrive(product.bootstrap("gw-1"))
    tell(product, first)
    iot = boto3.client("iot")
    arn = iot.describe_certificate(certificateId=first)["certificateDescription"]["certificateArn"]
    iot.detach_policy(policyName=BOOTSTRAP, target=arn)
    iot.delete_policy(policyName=BOOTSTRAP)
    second = arrive(product.bootstrap("gw-2"))
    assert tell(product, second) == []
    assert (status(second), policies(second)) == ("ACTIVE", {BOOTSTRAP})
    assert in_force() == (due(ServicePolicy.BOOTSTRAP), 1)


def test_another_process_makes_the_policy_meanwhile(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several processes handle the first certificates at once: the later one finds the policy."""
    certificate = arrive(product.bootstrap("gw-1"))
    document = json.dumps(due(ServicePolicy.BOOTSTRAP))
    another = boto3.client("iot")
    calls = Calls(monkeypatch)
    calls.before["CreatePolicy"] = lambda: another.create_policy(
        policyName=BOOTSTRAP, policyDocument=document
    )
    assert tell(product, certificate) == []
    assert (status(certificate), policies(certificate)) == ("ACTIVE", {BOOTSTRAP})
    assert in_force() == (due(ServicePolicy.BOOTSTRAP), 1)


def test_a_shared_certificate_gets_the_claims_policy(product: Product) -> None:
    """It has no device's name, so its policy goes by the client id; no record is looked for."""
    claims = factories.authority("Batch CA")
    shared = group("batch", claims, device_id="request.deviceId", reenroll="refuse")
    product.publish(groups=product.fleet.groups | {"batch": shared})
    certificate = arrive(claims.issue("Acme batch 7, all of it", factories.ec_key()))
    assert tell(product, certificate) == []
    assert (status(certificate), policies(certificate)) == ("ACTIVE", {"Firstboot-claim"})
    said = boto3.client("iot").get_policy(policyName="Firstboot-claim")["policyDocument"]
    assert json.loads(said) == due(ServicePolicy.CLAIM)


@pytest.mark.parametrize("decided", ["ACTIVE", "INACTIVE", "REVOKED", "PENDING_TRANSFER"])
def test_what_someone_decided_is_left_alone(
    product: Product, decided: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a certificate that waits for activation is judged; a repeated event costs one call."""
    certificate = arrive(product.bootstrap("gw-1"), decided)
    calls = Calls(monkeypatch)
    assert tell(product, certificate) == []
    assert calls.made[2:] == ["DescribeCertificate"]
    assert (status(certificate), policies(certificate)) == (decided, set())


def test_a_certificate_that_is_gone_is_done(product: Product) -> None:
    """Somebody deleted it meanwhile: there is nothing to bring again."""
    assert tell(product, "0" * 64) == []


def _refused(product: Product, flaw: str) -> x509.Certificate:
    key = factories.ec_key()
    if flaw == "bootstrap-expired":
        return product.factory.issue("gw-1", key, not_before=datetime.now(UTC) - timedelta(days=9), days=1)
    if flaw == "certificate-usage-wrong":
        return product.factory.issue("gw-1", key, eku=None)
    if flaw == "certificate-key-weak":
        return product.factory.issue("gw-1", factories.rsa_key(1024))
    if flaw == "device-id-invalid":
        return product.factory.issue("gw-*", key)
    if flaw == "enrollment-closed":
        gateways = group("gateways", product.factory)
        assert gateways.budget
        object.__setattr__(gateways.budget, "until", EPOCH)
        product.publish(groups={"gateways": gateways})
    if flaw == "device-revoked":
        product.identity("gw-1")
        product.operate("devices.revoke", deviceId="gw-1")
    return product.factory.issue("gw-1", key)


@pytest.mark.parametrize(
    "flaw",
    [
        "bootstrap-expired",
        "certificate-usage-wrong",
        "certificate-key-weak",
        "device-id-invalid",
        "enrollment-closed",
        "device-revoked",
    ],
)
def test_who_could_not_enroll_is_revoked(product: Product, flaw: str, log: io.StringIO) -> None:
    """What enrolling would refuse for good does not get as far as the broker; the log says why."""
    certificate = arrive(_refused(product, flaw))
    assert tell(product, certificate) == []
    assert (status(certificate), policies(certificate)) == ("REVOKED", set())
    (line,) = [line for line in map(json.loads, log.getvalue().splitlines()) if line["message"] == "newcomer"]
    assert (line["code"], line["outcome"], line["certificateId"]) == (flaw, "revoked", certificate)


def test_a_revocation_is_counted(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    """By a metric of its own: a factory that makes certificates nobody admits should show."""
    tell(product, arrive(product.factory.issue("gw-*", factories.ec_key())))
    assert '"NewcomerRevoked":[1.0]' in capsys.readouterr().out


def test_another_cas_certificates_are_not_ours_to_revoke(product: Product) -> None:
    """The account may have other CAs registered, with their own people to admit what they sign."""
    stranger = factories.authority("Factory CA")
    past = datetime.now(UTC) - timedelta(days=9)
    for leaf in (
        stranger.issue("gw-1", factories.ec_key()),
        stranger.issue("gw-1", factories.ec_key(), not_before=past, days=1),
        stranger.issue("gw-1", factories.rsa_key(1024)),
    ):
        certificate = arrive(leaf)
        assert tell(product, certificate) == []
        assert (status(certificate), policies(certificate)) == ("PENDING_ACTIVATION", set())


def test_who_is_too_early_may_come_again(product: Product) -> None:
    """A certificate that is not valid yet keeps waiting; once it is valid, the next event admits it."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    certificate = arrive(product.factory.issue("gw-1", factories.ec_key(), not_before=tomorrow))
    assert tell(product, certificate) == []
    assert status(certificate) == "PENDING_ACTIVATION"


def test_a_device_of_another_group_is_not_admitted(product: Product) -> None:
    """It would connect under a client id that is another device's; an operator may still move it."""
    product.identity("gw-1")
    other = factories.authority("Other factory")
    product.publish(groups=product.fleet.groups | {"others": group("others", other)})
    certificate = arrive(other.issue("gw-1", factories.ec_key()))
    assert tell(product, certificate) == []
    assert (status(certificate), policies(certificate)) == ("PENDING_ACTIVATION", set())


def test_a_device_that_is_enrolled_is_admitted(product: Product) -> None:
    """Whether it may enroll again is for `exchange` to decide, when it asks."""
    product.identity("gw-1")
    certificate = arrive(product.bootstrap("gw-1"))
    assert tell(product, certificate) == []
    assert status(certificate) == "ACTIVE"


def test_a_deleted_device_is_admitted(product: Product) -> None:
    """It may start over as soon as its record is gone; `exchange` has it wait until then."""
    product.identity("gw-1")
    product.operate("devices.delete", deviceId="gw-1")
    certificate = arrive(product.bootstrap("gw-1"))
    assert tell(product, certificate) == []
    assert status(certificate) == "ACTIVE"


def test_a_revocation_meanwhile_is_noticed(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first look at the record and the activation, an operator revoked the device."""
    product.identity("gw-1")
    certificate = arrive(product.bootstrap("gw-1"))
    calls = Calls(monkeypatch)
    calls.before["UpdateCertificate"] = lambda: product.records.revoke(DeviceId("gw-1"), EPOCH)
    assert tell(product, certificate) == []
    assert status(certificate) == "REVOKED"


@pytest.mark.parametrize("lost", [False, True], ids=["fails", "reply-lost"])
@pytest.mark.parametrize("operation", [*ADMITTING[:-1], "CreatePolicy"])
def test_a_failure_anywhere_is_tried_again(
    product: Product, monkeypatch: pytest.MonkeyPatch, operation: str, *, lost: bool
) -> None:
    """Whichever call fails, or succeeds unheard: the message comes again, and then all is well."""
    certificate = arrive(product.bootstrap("gw-1"))
    calls = Calls(monkeypatch)
    calls.failing = (operation, lost)
    assert tell(product, certificate) == ["m0"]
    calls.failing = None
    assert tell(product, certificate) == []
    assert (status(certificate), policies(certificate)) == ("ACTIVE", {BOOTSTRAP})
    assert in_force()[0] == due(ServicePolicy.BOOTSTRAP)


def test_one_bad_message_holds_up_no_other(product: Product) -> None:
    """Of a batch, only what failed is brought again, and in the end kept for a person."""
    certificate = arrive(product.bootstrap("gw-1"))
    records = event(certificate)["Records"]
    bodies = ["", "[]", "{}", '{"certificateId": 1}', json.dumps({"certificateId": "g" * 64}), "[" * 100_000]
    bad = [{"messageId": f"bad{index}", "body": body} for index, body in enumerate(bodies)]
    answer = product.lambdas.jitr({"Records": [*bad, *records]}, CONTEXT)
    assert [each["itemIdentifier"] for each in answer["batchItemFailures"]] == [
        message["messageId"] for message in bad
    ]
    assert status(certificate) == "ACTIVE"


def test_each_message_waits_for_its_slot(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a first-boot storm a message whose slot is later comes back at its slot, and takes no second one."""
    still = datetime.now(UTC)
    product.lambdas.clock = lambda: still
    for _ in range(3):
        DynamoRateLimiter(clients.dynamodb(), product.table).reserve(still, 1)
    certificate_id = arrive(product.bootstrap("gw-1"))
    assert tell(product, certificate_id) == []
    assert status(certificate_id) == "PENDING_ACTIVATION"
    url = boto3.client("sqs").get_queue_url(QueueName="rate-limited")["QueueUrl"]
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessagesDelayed"] == "1"
    body = json.dumps({"certificateId": certificate_id, "slot": int(still.timestamp() * 1_000)})
    record = {"messageId": "m", "body": body, "eventSource": "aws:sqs"}
    assert product.lambdas.jitr({"Records": [record]}, CONTEXT) == {"batchItemFailures": []}
    assert status(certificate_id) == "ACTIVE"
