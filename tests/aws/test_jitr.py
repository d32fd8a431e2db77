"""JITR admits or revokes the bootstrap certificates that AWS IoT registered at their first connection.

moto registers nothing by itself. The tests register the certificate as AWS IoT would, and the message is
AWS's documented event. In `tests/flows` the broker does both.

When an event passes, and how long it waits: test_jitr_events.py.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from moto.sqs.models import sqs_backends

from firstboot.aws import clients
from firstboot.domain.clock import EPOCH
from firstboot.domain.names import DeviceId
from firstboot.domain.plans import Budget
from firstboot.policy.render import Place
from firstboot.policy.service import ServicePolicy
from firstboot.register.handlers import TRIES
from tests import factories
from tests.aws.deployed import ACCOUNT, REGION
from tests.aws.odd_names import latin_1, not_utf_8
from tests.aws.product import CONTEXT, Product, make_policies
from tests.aws.rows_touched import playing
from tests.field.encode import own
from tests.fleets import group

# An event passes, its message is found undecided, and the rate limiter, whose last slot is in the past, gives
# one. After a decision, one update notes it.
PASSING = ["GetItem", "UpdateItem", "GetItem", "UpdateItem", "UpdateItem"]
DECIDED = ["UpdateItem"]
READING = ["GetItem", "GetItem"]  # the bootstrap certificate's row and the device's
ADMITTING = ["DescribeCertificate", *READING, "AttachPolicy", "UpdateCertificate", *READING]
BOOTSTRAP = "Firstboot-bootstrap"
MESSAGES = itertools.count()
PLACE = Place("aws", "us-east-1", "123456789012")
# The document of a version that allowed less.
OLD = json.dumps({"Version": "2012-10-17", "Statement": []})


@pytest.fixture(autouse=True)
def _warm(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the policies as the sweep does, and let the process read the fleet."""
    monkeypatch.setenv("FIRSTBOOT_STACK", "Firstboot")
    make_policies(product.fleet)
    admit(product, "0" * 64)


def arrive(leaf: x509.Certificate, status: Any = "PENDING_ACTIVATION") -> str:
    """Register the certificate as AWS IoT does at its first connection, and return its id."""
    made = boto3.client("iot").register_certificate_without_ca(
        certificatePem=factories.pem(leaf), status=status
    )
    return str(made["certificateId"])


def event(certificate_id: str) -> str:
    """Return a message with the members that the rule selects from AWS's documented event."""
    return json.dumps(
        {
            "certificateId": certificate_id,
            "caCertificateId": "c" * 64,
            "certificateStatus": "PENDING_ACTIVATION",
        }
    )


def deliver(product: Product, *bodies: str) -> list[str]:
    """Invoke the Lambda function with new messages, and return the ids of those that it wants again."""
    return redeliver(product, *((f"message-{next(MESSAGES)}", body) for body in bodies))


def redeliver(product: Product, *messages: tuple[str, str]) -> list[str]:
    """Invoke the Lambda function with these messages: each one's id and its body."""
    records = [{"messageId": name, "body": body, "eventSource": "aws:sqs"} for name, body in messages]
    answer = product.lambdas.jitr({"Records": records}, CONTEXT)
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def passed() -> list[str]:
    """Take the messages about events that passed from their queue, those with a delay too."""
    # SQS would deliver a delayed message only after its delay.
    queue = sqs_backends[ACCOUNT][REGION].queues["passed"]
    bodies = [str(message.body) for message in queue._messages]
    queue._messages.clear()
    return bodies


def waiting(name: str) -> int:
    """Return an attribute of the queue of events that passed, which is a number of messages."""
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="passed")["QueueUrl"]
    attributes: Any = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(attributes[name])


def admit(product: Product, *certificate_ids: str) -> None:
    """Let the certificates' events pass and be decided on. No message fails."""
    assert deliver(product, *map(event, certificate_ids)) == []
    assert deliver(product, *passed()) == []


def status(certificate_id: str) -> str:
    """Return the certificate's status in AWS IoT."""
    known = boto3.client("iot").describe_certificate(certificateId=certificate_id)
    return str(known["certificateDescription"]["status"])


def policies(certificate_id: str) -> set[str]:
    """Return the names of the certificate's policies."""
    iot = boto3.client("iot")
    arn = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]["certificateArn"]
    return {policy["policyName"] for policy in iot.list_attached_policies(target=arn)["policies"]}


def in_force() -> Any:
    """Return the document of the policy for bootstrap certificates, and the number of its versions."""
    iot = boto3.client("iot")
    versions = iot.list_policy_versions(policyName=BOOTSTRAP)["policyVersions"]
    return json.loads(iot.get_policy(policyName=BOOTSTRAP)["policyDocument"]), len(versions)


def due(policy: ServicePolicy) -> Any:
    """Return the document that a policy must have."""
    return policy.document(PLACE)


class Calls:
    """A record of every AWS call, which can let one call or its answer fail, or run an action before it."""

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


def test_the_documented_event_of_aws_admits(product: Product) -> None:
    """AWS's whole documented event admits its certificate, and not only the members that the rule selects."""
    certificate = arrive(product.bootstrap("gw-1"))
    documented = {
        "certificateId": certificate,
        "caCertificateId": "c" * 64,
        "timestamp": 1_795_399_505_443,
        "certificateStatus": "PENDING_ACTIVATION",
        "awsAccountId": "123456789012",
        "certificateRegistrationTimestamp": "1795399505000",
    }
    assert deliver(product, json.dumps(documented)) == []
    assert deliver(product, *passed()) == []
    assert (status(certificate), policies(certificate)) == ("ACTIVE", {BOOTSTRAP})


def test_the_policy_is_attached_before_the_activation(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy is attached before the activation, because the broker refuses a certificate without one."""
    admit(product, arrive(product.bootstrap("gw-1")))
    certificate = arrive(product.bootstrap("gw-2"))
    calls = Calls(monkeypatch)
    admit(product, certificate)
    assert calls.made == [*PASSING, *ADMITTING, *DECIDED]


def test_a_policy_that_exists_is_not_changed(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy that exists is used unchanged: an earlier stack may have made it, and the sweep updates it."""
    iot = boto3.client("iot")
    iot.create_policy_version(policyName=BOOTSTRAP, policyDocument=OLD, setAsDefault=True)
    certificate = arrive(product.bootstrap("gw-1"))
    calls = Calls(monkeypatch)
    admit(product, certificate)
    assert calls.made == [*PASSING, *ADMITTING, *DECIDED]
    assert in_force() == (json.loads(OLD), 2)


def test_a_certificate_with_ten_policies_of_others_is_left(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that may have no further policy is left as it is, and its message does not come again."""
    certificate = arrive(product.bootstrap("gw-1"))
    make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        if operation == "AttachPolicy":
            raise ClientError({"Error": {"Code": "LimitExceededException", "Message": ""}}, operation)
        return make(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    admit(product, certificate)
    assert (status(certificate), policies(certificate), passed()) == ("PENDING_ACTIVATION", set(), [])


def test_a_certificate_waits_for_a_missing_policy(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its policy is missing, a certificate is not admitted; it is when the sweep has made the policy.

    JITR makes no policy.
    """
    boto3.client("iot").delete_policy(policyName=BOOTSTRAP)
    certificate = arrive(product.bootstrap("gw-1"))
    calls = Calls(monkeypatch)
    admit(product, certificate)
    assert calls.made == [*PASSING, *ADMITTING[: ADMITTING.index("AttachPolicy") + 1]]
    assert status(certificate) == "PENDING_ACTIVATION"
    make_policies(product.fleet)
    assert deliver(product, *passed()) == []
    assert (status(certificate), policies(certificate)) == ("ACTIVE", {BOOTSTRAP})


def test_a_shared_certificate_gets_the_claims_policy(product: Product) -> None:
    """A claim certificate gets the policy by client id, and no device record is read for it."""
    claims = factories.authority("Batch CA")
    shared = group("batch", claims, device_id="request.deviceId", reenroll="refuse")
    product.publish(groups=product.fleet.groups | {"batch": shared})
    certificate = arrive(claims.issue("Acme batch 7, all of it", factories.ec_key()))
    admit(product, certificate)
    assert (status(certificate), policies(certificate)) == ("ACTIVE", {"Firstboot-claim"})
    said = boto3.client("iot").get_policy(policyName="Firstboot-claim")["policyDocument"]
    assert json.loads(said) == due(ServicePolicy.CLAIM)


def by_serial_number(product: Product, **changes: Any) -> x509.Certificate:
    """Publish a group whose devices have their ids in serialNumber, and return a certificate of one."""
    maker = factories.authority("Element CA")
    values: dict[str, Any] = {"device_id": "subject.serialNumber", "jitr": "exclusive"}
    elements = group("elements", maker, **values | changes)
    product.publish(groups=product.fleet.groups | {"elements": elements})
    parts = [
        x509.NameAttribute(NameOID.COMMON_NAME, "Acme element"),
        x509.NameAttribute(NameOID.SERIAL_NUMBER, "sn0017"),
    ]
    return maker.issue("", factories.ec_key(), subject=x509.Name(parts))


def test_the_field_that_names_a_device_decides_its_policy(product: Product) -> None:
    """A certificate with its device's id in serialNumber gets the policy with AWS IoT's variable for it."""
    certificate = arrive(by_serial_number(product))
    admit(product, certificate)
    assert (status(certificate), policies(certificate)) == ("ACTIVE", {"Firstboot-bootstrap-serialnumber"})


def test_an_id_without_a_variable_connects_like_a_claim(product: Product) -> None:
    """A certificate whose id is a part of a field gets the policy of claim certificates."""
    certificate = arrive(by_serial_number(product, strip_prefix="sn"))
    admit(product, certificate)
    assert (status(certificate), policies(certificate)) == ("ACTIVE", {"Firstboot-claim"})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ids": "gw-*", "shares_ids_with": ("gateways",)}, "device-id-invalid"),
        ({"pattern": "SN(.+)"}, "device-id-invalid"),
        ({"strip_prefix": "x"}, "device-id-invalid"),
        ({"device_id": "san.uri"}, "certificate-malformed"),
    ],
)
def test_a_mistake_in_naming_revokes_no_certificate(
    product: Product, changes: dict[str, Any], code: str, logs: io.StringIO
) -> None:
    """A certificate that the group's keys of naming refuse waits, in an exclusive group too.

    Another fleet definition could admit it.
    """
    certificate = arrive(by_serial_number(product, **changes))
    admit(product, certificate)
    assert (status(certificate), policies(certificate)) == ("PENDING_ACTIVATION", set())
    assert (logged(logs)["code"], logged(logs)["outcome"]) == (code, "left")


@pytest.mark.parametrize("decided", ["ACTIVE", "INACTIVE", "REVOKED", "PENDING_TRANSFER"])
def test_a_decided_certificate_is_left_alone(
    product: Product, decided: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate that does not wait for activation is left as it is, for one call to AWS IoT."""
    certificate = arrive(product.bootstrap("gw-1"), decided)
    calls = Calls(monkeypatch)
    admit(product, certificate)
    assert calls.made == [*PASSING, "DescribeCertificate", *DECIDED]
    assert (status(certificate), policies(certificate)) == (decided, set())


def test_a_certificate_that_is_gone_is_done(product: Product) -> None:
    """A certificate that was deleted meanwhile needs no retry."""
    admit(product, "0" * 64)


def gateways(product: Product, jitr: str, **changes: Any) -> None:
    """Publish a fleet whose group `gateways` has the given `jitr`."""
    product.publish(groups={"gateways": group("gateways", product.factory, jitr=jitr, **changes)})


def refused(product: Product, flaw: str, jitr: str) -> x509.Certificate:  # noqa: PLR0911 - one for each flaw
    """Return a certificate that can never enroll in the group, which has the given `jitr`."""
    key = factories.ec_key()
    gateways(product, jitr)
    if flaw == "bootstrap-expired":
        return product.factory.issue("gw-1", key, not_before=datetime.now(UTC) - timedelta(days=9), days=1)
    if flaw == "certificate-usage-wrong":
        return product.factory.issue("gw-1", key, eku=ExtendedKeyUsageOID.SERVER_AUTH)
    if flaw == "no-extended-key-usage":
        gateways(product, jitr, eku="required")
        return product.factory.issue("gw-1", key, eku=None)
    if flaw == "certificate-key-weak":
        return product.factory.issue("gw-1", factories.rsa_key(1024))
    if flaw == "device-id-invalid":
        return product.factory.issue("gw-*", key)
    if flaw == "enrollment-closed":
        gateways(product, jitr, budget=Budget(total=9, per_minute=9, until=EPOCH))
    if flaw == "bootstrap-revoked":
        leaf = product.factory.issue("gw-1", key)
        product.operate("factory.revoke", certificate=factories.pem(leaf))
        return factories.twin(leaf)
    if flaw == "device-revoked":
        product.identity("gw-1")
        product.operate("devices.revoke", deviceId="gw-1")
    return product.factory.issue("gw-1", key)


FLAWS = {
    "bootstrap-expired": "bootstrap-expired",
    "certificate-usage-wrong": "certificate-usage-wrong",
    "no-extended-key-usage": "certificate-usage-wrong",
    "certificate-key-weak": "certificate-key-weak",
    "device-id-invalid": "device-id-invalid",
    "enrollment-closed": "enrollment-closed",
    "device-revoked": "device-revoked",
}
"""Flaws that make a certificate useless for good, each with the code of the refusal."""

REVOKED = {"bootstrap-revoked": "bootstrap-revoked"}
"""The flaw of a certificate that an operator has revoked, which is thereby one of the fleet."""


def logged(logs: io.StringIO) -> dict[str, Any]:
    """Return the one log line about a certificate."""
    (line,) = [
        line for line in map(json.loads, logs.getvalue().splitlines()) if line["message"] == "newcomer"
    ]
    return dict(line)


@pytest.mark.parametrize("flaw", FLAWS | REVOKED)
def test_an_exclusive_group_revokes_what_can_never_enroll(
    product: Product, flaw: str, logs: io.StringIO
) -> None:
    """In an exclusive group a certificate that can never enroll becomes REVOKED, and the log has the code."""
    certificate = arrive(refused(product, flaw, "exclusive"))
    admit(product, certificate)
    assert (status(certificate), policies(certificate)) == ("REVOKED", set())
    line = logged(logs)
    assert (line["code"], line["outcome"]) == ((FLAWS | REVOKED)[flaw], "revoked")
    assert line["certificateId"] == certificate
    assert line["group"] == "gateways"


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_shared_group_revokes_nothing(product: Product, flaw: str, logs: io.StringIO) -> None:
    """In a shared group a certificate that can never enroll stays as it is, and the log has the code."""
    certificate = arrive(refused(product, flaw, "shared"))
    admit(product, certificate)
    assert (status(certificate), policies(certificate)) == ("PENDING_ACTIVATION", set())
    assert (logged(logs)["code"], logged(logs)["outcome"]) == (FLAWS[flaw], "left")


def test_a_shared_group_revokes_what_an_operator_has_revoked(product: Product, logs: io.StringIO) -> None:
    """A twin of a certificate that an operator has revoked becomes REVOKED in a shared group too."""
    certificate = arrive(refused(product, "bootstrap-revoked", "shared"))
    admit(product, certificate)
    assert (status(certificate), policies(certificate)) == ("REVOKED", set())
    assert (logged(logs)["code"], logged(logs)["outcome"]) == ("bootstrap-revoked", "revoked")


def test_a_neighbours_certificates_stay_theirs(product: Product) -> None:
    """No certificate of the maker's other devices changes, for which the maker has JITR under the same CA.

    Those devices have names that are no device ids, no names, other purposes, expired or RSA-1024
    certificates, or certificates under an intermediate.
    """
    factory, key = product.factory, factories.ec_key()
    past = datetime.now(UTC) - timedelta(days=9)
    nameless = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, "4711")])
    neighbours = [
        factory.issue("Pump 12 / hall 3", key),
        factory.issue("", key, subject=nameless),
        factory.issue("pump-12", key, eku=ExtendedKeyUsageOID.SERVER_AUTH),
        factory.issue("pump-13", key, not_before=past, days=1),
        factory.issue("pump-14", factories.rsa_key(1024)),
        factory.intermediate("Pumps").issue("pump-15", key),
    ]
    pending = [arrive(each) for each in neighbours]
    active = arrive(factory.issue("pump-16 *", key), "ACTIVE")
    admit(product, *pending, active)
    assert {status(each) for each in pending} == {"PENDING_ACTIVATION"}
    assert (status(active), policies(active)) == ("ACTIVE", set())


def test_jitr_that_is_off_activates_nothing(product: Product, logs: io.StringIO) -> None:
    """A group whose JITR is off leaves also a certificate that could enroll; HTTPS accepts it."""
    gateways(product, "off")
    certificate = arrive(product.bootstrap("gw-1"))
    admit(product, certificate)
    assert (status(certificate), policies(certificate)) == ("PENDING_ACTIVATION", set())
    assert (logged(logs)["outcome"], logged(logs)["group"]) == ("left", "gateways")
    assert product.enroll(product.bootstrap("gw-1")).status == 201


def test_a_teletex_name_is_no_poison_message(product: Product) -> None:
    """A Latin-1 TeletexString in a certificate's subject is read, and the certificate is admitted."""
    certificate = arrive(latin_1(product.factory))
    admit(product, certificate)
    assert status(certificate) == "ACTIVE"


def test_a_name_that_cannot_be_decoded_is_no_poison_message(product: Product, logs: io.StringIO) -> None:
    """A certificate whose subject is not UTF-8 is left, and the message is not delivered again."""
    certificate = arrive(not_utf_8(product.factory))
    admit(product, certificate)
    assert status(certificate) == "PENDING_ACTIVATION"
    assert logged(logs)["code"] == "certificate-malformed"


def test_a_revocation_is_counted(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    """A metric of its own counts revoked certificates, so that a factory's mistake shows."""
    gateways(product, "exclusive")
    admit(product, arrive(product.factory.issue("gw-*", factories.ec_key())))
    assert '"NewcomerRevoked":[1.0]' in capsys.readouterr().out


def test_a_certificate_of_another_ca_is_left_alone(product: Product) -> None:
    """A certificate of another CA is neither admitted nor revoked, because the account may have other CAs."""
    stranger = factories.authority("Factory CA")
    past = datetime.now(UTC) - timedelta(days=9)
    for leaf in (
        stranger.issue("gw-1", factories.ec_key()),
        stranger.issue("gw-1", factories.ec_key(), not_before=past, days=1),
        stranger.issue("gw-1", factories.rsa_key(1024)),
    ):
        certificate = arrive(leaf)
        admit(product, certificate)
        assert (status(certificate), policies(certificate)) == ("PENDING_ACTIVATION", set())


def test_a_certificate_that_is_not_valid_yet_stays_pending(product: Product) -> None:
    """A certificate that is not valid yet stays pending."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    certificate = arrive(product.factory.issue("gw-1", factories.ec_key(), not_before=tomorrow))
    admit(product, certificate)
    assert status(certificate) == "PENDING_ACTIVATION"


def test_a_device_of_another_group_is_not_admitted(product: Product) -> None:
    """A certificate for another group's device stays pending, as an operator may still move the device."""
    product.identity("gw-1")
    other = factories.authority("Other factory")
    product.publish(groups=product.fleet.groups | {"others": group("others", other)})
    certificate = arrive(other.issue("gw-1", factories.ec_key()))
    admit(product, certificate)
    assert (status(certificate), policies(certificate)) == ("PENDING_ACTIVATION", set())


def test_a_device_that_is_enrolled_is_admitted(product: Product) -> None:
    """An enrolled device is admitted, because `exchange` decides whether it may enroll again."""
    product.identity("gw-1")
    certificate = arrive(product.bootstrap("gw-1"))
    admit(product, certificate)
    assert status(certificate) == "ACTIVE"


def test_a_deleted_device_is_admitted(product: Product) -> None:
    """A deleted device is admitted, because `exchange` lets it wait until its record is gone."""
    product.identity("gw-1")
    product.operate("devices.delete", deviceId="gw-1")
    certificate = arrive(product.bootstrap("gw-1"))
    admit(product, certificate)
    assert status(certificate) == "ACTIVE"


@pytest.mark.parametrize("jitr", ["shared", "exclusive"])
def test_a_revocation_during_the_admission_counts(
    product: Product, monkeypatch: pytest.MonkeyPatch, jitr: str
) -> None:
    """A certificate that Firstboot activated is revoked if its device was revoked in the meantime."""
    gateways(product, jitr)
    product.identity("gw-1")
    certificate = arrive(product.bootstrap("gw-1"))
    calls = Calls(monkeypatch)
    revoke = playing("operate", product.records.revoke)
    calls.before["UpdateCertificate"] = lambda: revoke(DeviceId("gw-1"), EPOCH)
    admit(product, certificate)
    assert status(certificate) == "REVOKED"


def test_a_revoked_bootstrap_certificate_meanwhile_is_noticed(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the certificate is revoked between the first look at its row and its activation, it is REVOKED."""
    leaf = product.bootstrap("gw-1")
    certificate = arrive(leaf)
    calls = Calls(monkeypatch)
    identifier, revoke = own(leaf).identifier, playing("operate", product.records.revoke_bootstrap)
    calls.before["UpdateCertificate"] = lambda: revoke(identifier, EPOCH)
    admit(product, certificate)
    assert status(certificate) == "REVOKED"


def test_no_form_of_a_revoked_claim_certificate_is_admitted(product: Product) -> None:
    """A certificate that devices share is revoked in each form, though it names no device."""
    shared = group("gateways", product.factory, device_id="request.deviceId", reenroll="refuse")
    product.publish(groups={"gateways": shared})
    claim = product.factory.issue("batch", factories.ec_key())
    admit(product, first := arrive(claim))
    assert status(first) == "ACTIVE"
    product.operate("factory.revoke", certificate=factories.pem(claim))
    admit(product, second := arrive(factories.twin(claim)))
    assert (status(first), status(second)) == ("REVOKED", "REVOKED")


@pytest.mark.parametrize("lost", [False, True], ids=["fails", "reply-lost"])
@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem"])
def test_an_event_whose_passing_fails_comes_again(
    product: Product, monkeypatch: pytest.MonkeyPatch, operation: str, *, lost: bool
) -> None:
    """An event fails if the table does not answer, and passes when SQS delivers it again."""
    certificate = arrive(product.bootstrap("gw-1"))
    calls = Calls(monkeypatch)
    calls.failing = (operation, lost)
    assert redeliver(product, ("m", event(certificate))) == ["m"]
    calls.failing = None
    assert redeliver(product, ("m", event(certificate))) == []
    assert deliver(product, *passed()) == []
    assert status(certificate) == "ACTIVE"


@pytest.mark.parametrize("lost", [False, True], ids=["fails", "reply-lost"])
@pytest.mark.parametrize("operation", sorted({*ADMITTING, *PASSING}))
def test_a_decision_that_fails_is_tried_again_in_seconds(
    product: Product, monkeypatch: pytest.MonkeyPatch, operation: str, *, lost: bool
) -> None:
    """After a failure of any call, or of its answer, the message comes again and completes the admission."""
    certificate = arrive(product.bootstrap("gw-1"))
    assert deliver(product, event(certificate)) == []
    calls = Calls(monkeypatch)
    calls.failing = (operation, lost)
    assert deliver(product, *passed()) == []
    calls.failing = None
    assert waiting("ApproximateNumberOfMessagesDelayed") == 1
    assert deliver(product, *passed()) == []
    assert (status(certificate), policies(certificate)) == ("ACTIVE", {BOOTSTRAP})
    assert in_force()[0] == due(ServicePolicy.BOOTSTRAP)


def test_a_decision_fails_only_after_its_last_try(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """While AWS IoT throttles, a message is sent again, and after its last try it fails in its queue."""
    certificate = arrive(product.bootstrap("gw-1"))
    assert deliver(product, event(certificate)) == []
    calls = Calls(monkeypatch)
    calls.failing = ("DescribeCertificate", False)
    for _ in range(TRIES):
        assert deliver(product, *passed()) == []
    (last,) = passed()
    assert redeliver(product, ("last", last)) == ["last"]
    calls.failing = None
    assert deliver(product, last) == []
    assert status(certificate) == "ACTIVE"


def test_a_bad_message_fails_alone(product: Product) -> None:
    """A bad message fails alone, and the others of its batch are handled."""
    certificate = arrive(product.bootstrap("gw-1"))
    bodies = ["", "[]", "{}", '{"certificateId": 1}', json.dumps({"certificateId": "g" * 64}), "[" * 100_000]
    bodies.append(json.dumps({"certificateId": "0" * 64, "since": 10**18}))
    bad = [(f"bad{index}", body) for index, body in enumerate(bodies)]
    assert redeliver(product, *bad, ("good", event(certificate))) == [name for name, _ in bad]
    assert deliver(product, *passed()) == []
    assert status(certificate) == "ACTIVE"
