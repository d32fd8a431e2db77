"""AWS IoT fleet provisioning: the pre-provisioning hook decides, and the record has AWS IoT's certificate.

moto has no provisioning over MQTT. The tests register certificates as AWS IoT would, and the event is AWS's
documented one. In `tests/flows` a broker carries out the template for an unmodified client.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cryptography import x509

from firstboot.aws import clients
from firstboot.domain import topics
from firstboot.domain.clock import from_epoch, utc_now
from firstboot.domain.device import Device
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from firstboot.domain.plans import Budget
from firstboot.domain.ways import DEFAULT, WAYS, Way
from firstboot.pki import chain
from tests import factories
from tests.aws.mqtt import Client
from tests.aws.product import CONTEXT, Product
from tests.aws.registering import Registering
from tests.fleets import group

AGES = from_epoch(4_000_000_000)
TEMPLATE = "arn:aws:iot:us-east-1:123456789012:provisioningtemplate/Firstboot"
OF_AWS = factories.authority("Amazon Root")
"""The CA of AWS IoT's own certificates, which no group trusts."""

ALL_WAYS: tuple[Way, ...] = (*DEFAULT, "fleet-provisioning")
REFUSED = {"allowProvisioning": False}


def allowed(name: str) -> dict[str, Any]:
    """Return the hook's answer for a device that may be provisioned."""
    return {"allowProvisioning": True, "parameterOverrides": {"DeviceId": name}}


@dataclass
class Provisioned:
    """A key with the certificate that AWS IoT made for it."""

    key: factories.PrivateKey = field(default_factory=factories.ec_key)
    leaf: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        """Have AWS IoT make the certificate, which waits for its activation."""
        self.leaf = OF_AWS.issue("AWS IoT Certificate", self.key, days=9_000)
        register(self.leaf, "PENDING_ACTIVATION")

    @property
    def certificate_id(self) -> str:
        """The certificate's id in AWS IoT."""
        return chain.fingerprint(self.leaf)


def register(leaf: x509.Certificate, status: Any) -> None:
    """Put a certificate into AWS IoT."""
    boto3.client("iot").register_certificate_without_ca(certificatePem=factories.pem(leaf), status=status)


class Fleet:
    """A product whose group has fleet provisioning, and the claim certificate of its devices."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.claim_key = factories.ec_key()
        self.claim = product.factory.issue("batch 7", self.claim_key)
        register(self.claim, "ACTIVE")
        self.share()

    def share(self, reenroll: str = "refuse", ways: tuple[Way, ...] = ALL_WAYS, **limits: Any) -> None:
        """Publish the group, whose devices share the claim certificate."""
        many: dict[str, Any] = {"total": 100, "per_minute": 100, "freeze_per_hour": 100, "until": AGES}
        budget = Budget(**(many | limits))
        changes: dict[str, Any] = {"device_id": "request.deviceId", "reenroll": reenroll, "budget": budget}
        shared = group("sensors", self.product.factory, ways=ways, **changes)
        self.product.publish(groups={"sensors": shared})

    def expect(self, *names: str) -> None:
        """Register these devices as expected."""
        self.product.operate("groups.expect", group="sensors", devices={name: {} for name in names})

    def event(
        self, made: Provisioned, claim: x509.Certificate | None = None, **parameters: Any
    ) -> dict[str, Any]:
        """Return AWS's documented event."""
        return {
            "claimCertificateId": chain.fingerprint(claim or self.claim),
            "certificateId": made.certificate_id,
            "certificatePem": factories.pem(made.leaf),
            "templateArn": TEMPLATE,
            "clientId": "221a6d10-9c7f-42f1-9153-e52e6fc869c1",
            "parameters": parameters,
        }

    def ask(self, made: Provisioned, claim: x509.Certificate | None = None, **parameters: Any) -> Any:
        """Invoke the hook for a device, and return its answer."""
        return self.hook(self.event(made, claim, **parameters))

    def hook(self, event: dict[str, Any]) -> Any:
        """Invoke the hook with an event."""
        return json.loads(json.dumps(self.product.lambdas.provisioning(event, CONTEXT)))

    def device(self, name: str) -> Device:
        """Return a device's record."""
        found = self.product.records.device(DeviceId(name))
        assert found is not None
        return found

    def advance(self, by: timedelta) -> None:
        """Let the functions' clock go forward."""
        moment = utc_now() + by
        self.product.lambdas.clock = lambda: moment


@pytest.fixture
def fleet(product: Product, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Return a product with fleet provisioning, in which `gw-1` is expected."""
    monkeypatch.setenv("FIRSTBOOT_STACK", "Firstboot")
    made = Fleet(product)
    made.expect("gw-1")
    return made


def connected(fleet: Fleet, name: str, made: Provisioned) -> Client:
    """Connect the device with AWS IoT's certificate, and return its client."""
    client = Client(fleet.product, name, made.leaf)
    event = {"clientId": name, "principalIdentifier": client.principal}
    fleet.product.lambdas.presence(event, CONTEXT)
    return client


def test_the_record_has_the_certificate(fleet: Fleet) -> None:
    """The certificate of an allowed device is pending in its record, with the way, and stored alone."""
    made = Provisioned(factories.rsa_key())
    assert fleet.ask(made, DeviceId="gw-1") == allowed("gw-1")
    device = fleet.device("gw-1")
    pending = device.pending
    assert pending is not None
    assert (device.way, device.status, device.active, device.imported) == (
        "fleet-provisioning", "enrolled", None, False,
    )  # fmt: skip
    assert (pending.imported, pending.provisioned, pending.certificate_id) == (
        True,
        True,
        made.certificate_id,
    )
    assert pending.serial == f"{made.leaf.serial_number:x}"
    assert pending.not_after == made.leaf.not_valid_after_utc
    (key,) = fleet.product.objects()
    assert key == f"certificates/gw-1/{pending.serial}.pem"


def test_aws_s_usual_name_of_the_parameter_is_taken(fleet: Fleet) -> None:
    """A device may give its name as `SerialNumber`, and the hook sets `DeviceId`; two names are refused."""
    made = Provisioned()
    assert fleet.ask(made, SerialNumber="gw-1", DeviceId="gw-2") == REFUSED
    assert fleet.ask(made, SerialNumber="gw-1") == allowed("gw-1")


def test_other_parameters_are_claims(fleet: Fleet) -> None:
    """Parameters beside the name become claims, which the device makes of itself."""
    parameters: dict[str, Any] = {"model": "m1", "AWS::IoT::Certificate::Id": "0" * 64}
    assert fleet.ask(Provisioned(), DeviceId="gw-1", **parameters) == allowed("gw-1")
    assert fleet.device("gw-1").claims == {"model": "m1"}


def test_the_first_connection_makes_it_active(fleet: Fleet) -> None:
    """The first connection with the certificate commits it, and the device then gets credentials by MQTT."""
    made = Provisioned()
    fleet.ask(made, DeviceId="gw-1")
    client = connected(fleet, "gw-1", made)
    active = fleet.device("gw-1").active
    assert active is not None
    assert (active.certificate_id, active.provisioned) == (made.certificate_id, True)
    answer = client.ask(topics.CREDENTIALS, roleAlias="telemetry")
    assert answer["credentials"]["accessKeyId"]
    assert client.ask(topics.COMMIT)["status"] == "active"


def test_a_call_over_mqtt_commits_it_too(fleet: Fleet) -> None:
    """A device whose connection was not noticed commits the certificate by its first call."""
    made = Provisioned()
    fleet.ask(made, DeviceId="gw-1")
    Client(fleet.product, "gw-1", made.leaf).ask(topics.CREDENTIALS, roleAlias="telemetry")
    active = fleet.device("gw-1").active
    assert active is not None
    assert active.certificate_id == made.certificate_id


@pytest.mark.parametrize(
    "connect", [connected, lambda fleet, name, made: Client(fleet.product, name, made.leaf)]
)
def test_it_renews_into_one_of_ours(
    fleet: Fleet, connect: Callable[[Fleet, str, Provisioned], Client]
) -> None:
    """The device renews into a certificate of ours, also if no connection was noticed before."""
    made = Provisioned()
    fleet.ask(made, DeviceId="gw-1")
    client = connect(fleet, "gw-1", made)
    client.ask(topics.CERTIFICATES, csr=client.csr())
    new = fleet.device("gw-1").pending
    assert new is not None
    assert not new.imported
    stored = boto3.client("s3").get_object(
        Bucket=fleet.product.bucket, Key=f"certificates/gw-1/{new.serial}.pem"
    )
    leaf = x509.load_pem_x509_certificates(stored["Body"].read())[0]
    leaf.verify_directly_issued_by(fleet.product.ca)
    assert Client(fleet.product, "gw-1", leaf).ask(topics.COMMIT)["status"] == "active"
    assert client.refused(topics.CREDENTIALS, {"roleAlias": "telemetry"}) == "certificate-not-current"


def test_it_logs_in_over_mqtt_alone(fleet: Fleet) -> None:
    """A TLS client with the certificate does not log in, and a signed proof by its key does not either."""
    made = Provisioned()
    fleet.ask(made, DeviceId="gw-1")
    connected(fleet, "gw-1", made)
    path = "/v1/certificates/commit"
    code = "operational-certificate-required"
    assert fleet.product.call("POST", path, made.leaf, "{}").body["code"] == code
    assert fleet.product.prove("POST", path, made.key, made.leaf, "{}").status in (401, 403)


def test_it_is_this_device_s_alone(fleet: Fleet) -> None:
    """The certificate does not log in under another device's client id."""
    fleet.expect("gw-2")
    one, other = Provisioned(), Provisioned()
    fleet.ask(one, DeviceId="gw-1")
    fleet.ask(other, DeviceId="gw-2")
    foreign = Client(fleet.product, "gw-2", one.leaf)
    assert foreign.refused(topics.CREDENTIALS, {"roleAlias": "telemetry"}) == "certificate-not-current"


def test_an_expired_certificate_logs_in_no_more(fleet: Fleet) -> None:
    """After its end the certificate gets no credentials, and before its beginning neither."""
    made = Provisioned()
    fleet.ask(made, DeviceId="gw-1")
    client = connected(fleet, "gw-1", made)
    for by, code in ((9_001, "certificate-expired"), (-30, "certificate-not-yet-valid")):
        fleet.advance(timedelta(days=by))
        assert client.refused(topics.CREDENTIALS, {"roleAlias": "telemetry"}) == code


def test_the_way_mqtt_is_needed_for_more(fleet: Fleet) -> None:
    """A device of a group without the way `mqtt` is provisioned, and neither renews nor gets credentials."""
    fleet.share(ways=("fleet-provisioning",))
    made = Provisioned()
    assert fleet.ask(made, DeviceId="gw-1") == allowed("gw-1")
    client = connected(fleet, "gw-1", made)
    assert fleet.device("gw-1").active is not None
    assert client.refused(topics.CREDENTIALS, {"roleAlias": "telemetry"}) == "way-not-allowed"
    assert client.refused(topics.CERTIFICATES, {"csr": client.csr()}) == "way-not-allowed"


def test_a_closed_way_is_refused(fleet: Fleet, logs: io.StringIO) -> None:
    """A group that does not name the way gets no device provisioned, and nothing is written."""
    fleet.share(ways=tuple(way for way in WAYS if way != "fleet-provisioning"))
    unchanged(fleet, fleet.event(Provisioned(), DeviceId="gw-1"))
    assert "way-not-allowed" in logs.getvalue()


def unchanged(fleet: Fleet, event: dict[str, Any]) -> None:
    """Check that the hook refuses an event and leaves nothing."""
    rows, objects = fleet.product.rows(), fleet.product.objects()
    assert fleet.hook(event) == REFUSED
    assert fleet.product.rows() == rows
    assert fleet.product.objects() == objects


def test_a_certificate_that_is_never_registered_leaves_nothing(fleet: Fleet) -> None:
    """A certificate that AWS IoT made, and no hook decided on, is in no row and no object."""
    rows = fleet.product.rows()
    Provisioned()
    assert fleet.product.rows() == rows
    assert fleet.product.objects() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"claimCertificateId": "0" * 64},
        {"claimCertificateId": "../etc"},
        {"claimCertificateId": None},
        {"certificateId": "0" * 64},
        {"certificatePem": "no PEM"},
        {"certificatePem": "-" * 17_000},
        {"parameters": {}},
        {"parameters": {"DeviceId": "a" * 300}},
        {"parameters": {"DeviceId": 7}},
        {"parameters": {"DeviceId": "gw/1"}},
        {"parameters": {"DeviceId": "gw.1"}},
        {"parameters": {"DeviceId": "boot-gw-1"}},
        {"parameters": {"DeviceId": "gw-1"} | {f"name{each}": "v" for each in range(17)}},
        {"parameters": {"DeviceId": "gw-1", "na me": "v"}},
        {"parameters": {"DeviceId": "gw-1", "long": "v" * 256}},
        {"parameters": None},
        {"parameters": {"DeviceId": "gw-1", "\ud800": "v"}},
        {"\ud800": 1},
    ],
)
def test_bad_input_is_refused(fleet: Fleet, changes: dict[str, Any]) -> None:
    """An event with a wrong member is refused before anything is written."""
    unchanged(fleet, fleet.event(Provisioned(), DeviceId="gw-1") | changes)


def test_no_event_without_a_claim_certificate(fleet: Fleet) -> None:
    """A client that connected without a certificate is refused, as AWS IoT then names none."""
    event = fleet.event(Provisioned(), DeviceId="gw-1")
    del event["claimCertificateId"]
    unchanged(fleet, event)


def test_the_claim_certificate_must_be_a_group_s(fleet: Fleet) -> None:
    """A certificate of another CA, or one that a device of the fleet uses, claims nothing."""
    strange = factories.authority("another").issue("batch 7", factories.ec_key())
    register(strange, "ACTIVE")
    unchanged(fleet, fleet.event(Provisioned(), strange, DeviceId="gw-1"))
    made = Provisioned()
    assert fleet.ask(made, DeviceId="gw-1") == allowed("gw-1")
    unchanged(fleet, fleet.event(Provisioned(), made.leaf, DeviceId="gw-1"))


def test_an_unexpected_name_is_a_counted_guess(fleet: Fleet) -> None:
    """In a shared group a name that no operator named is refused, and the guess is counted."""
    assert fleet.ask(Provisioned(), DeviceId="gw-9") == REFUSED
    (row,) = [row for row in fleet.product.rows() if row["pk"]["S"].startswith("GUESS#")]
    assert row["used"] == {"N": "1"}
    assert fleet.product.objects() == []


def test_the_budget_counts_and_ends(fleet: Fleet) -> None:
    """A provisioned device counts against the budget, and none is provisioned above it."""
    fleet.share(total=1)
    fleet.expect("gw-2")
    assert fleet.ask(Provisioned(), DeviceId="gw-1") == allowed("gw-1")
    for _ in range(2):
        assert fleet.ask(Provisioned(), DeviceId="gw-2") == REFUSED
    assert fleet.device("gw-2").pending is None


def test_more_than_expected_in_an_hour_freezes(fleet: Fleet, logs: io.StringIO) -> None:
    """The group freezes above its hourly threshold, and then provisions no device."""
    fleet.share(freeze_per_hour=1)
    fleet.expect("gw-2", "gw-3")
    answers = [fleet.ask(Provisioned(), DeviceId=name) for name in ("gw-1", "gw-2", "gw-3")]
    assert answers == [allowed("gw-1"), REFUSED, REFUSED]
    assert "enrollment-frozen" in logs.getvalue()


def test_the_minute_s_limit(fleet: Fleet, logs: io.StringIO) -> None:
    """Above the limit of a minute a device is refused, and no retry slot is taken."""
    fleet.share(per_minute=1)
    fleet.expect("gw-2")
    fleet.advance(timedelta())
    assert fleet.ask(Provisioned(), DeviceId="gw-1") == allowed("gw-1")
    assert fleet.ask(Provisioned(), DeviceId="gw-2") == REFUSED
    assert "enrollment-rate-exceeded" in logs.getvalue()
    assert not [row for row in fleet.product.rows() if row["pk"]["S"].startswith("RETRY#")]


def test_a_closed_group(fleet: Fleet, logs: io.StringIO) -> None:
    """After the last day of the budget no device is provisioned."""
    fleet.share(until=utc_now())
    unchanged(fleet, fleet.event(Provisioned(), DeviceId="gw-1"))
    assert "enrollment-closed" in logs.getvalue()


def test_a_revoked_device_and_a_revoked_claim_certificate(fleet: Fleet) -> None:
    """A revoked device is not provisioned again, nor any device by a revoked claim certificate."""
    fleet.expect("gw-2")
    fleet.product.operate("devices.revoke", deviceId="gw-1")
    assert fleet.ask(Provisioned(), DeviceId="gw-1") == REFUSED
    pem = factories.pem(fleet.claim)
    assert "result" in fleet.product.operate("factory.revoke", certificate=pem)
    assert fleet.ask(Provisioned(), DeviceId="gw-2") == REFUSED
    assert fleet.product.objects() == []


def test_a_group_that_refuses_provisions_a_device_once(fleet: Fleet) -> None:
    """A group that refuses re-enrollment refuses another certificate, and one that replaces takes it."""
    made = Provisioned()
    fleet.ask(made, DeviceId="gw-1")
    connected(fleet, "gw-1", made)
    assert fleet.ask(Provisioned(), DeviceId="gw-1") == REFUSED
    fleet.share(reenroll="replace")
    assert fleet.ask(Provisioned(), DeviceId="gw-1") == allowed("gw-1")


def test_a_repeat_gets_the_same_answer(fleet: Fleet) -> None:
    """A repeat before and after the first connection is allowed and counts nothing."""
    made = Provisioned()
    fleet.ask(made, DeviceId="gw-1")
    rows = fleet.product.rows()
    assert fleet.ask(made, DeviceId="gw-1") == allowed("gw-1")
    assert fleet.product.rows() == rows
    connected(fleet, "gw-1", made)
    fleet.advance(timedelta(minutes=59))
    assert fleet.ask(made, DeviceId="gw-1") == allowed("gw-1")
    assert len(fleet.product.objects()) == 1


def test_a_repeat_stores_what_a_crash_left_out(fleet: Fleet) -> None:
    """If the process ended between the claim and the object, the repeat stores the object."""
    made = Provisioned()
    fleet.ask(made, DeviceId="gw-1")
    (key,) = fleet.product.objects()
    s3 = boto3.client("s3")
    s3.delete_object(Bucket=fleet.product.bucket, Key=key)
    assert fleet.ask(made, DeviceId="gw-1") == allowed("gw-1")
    assert fleet.product.objects() == [key]


def test_one_key_has_one_certificate(fleet: Fleet) -> None:
    """A second certificate for the same key, by CreateCertificateFromCsr, is refused for an hour."""
    key = factories.ec_key()
    one, other = Provisioned(key), Provisioned(key)
    assert fleet.ask(one, DeviceId="gw-1") == allowed("gw-1")
    unchanged_pending = fleet.device("gw-1").pending
    assert fleet.ask(other, DeviceId="gw-1") == REFUSED
    assert fleet.device("gw-1").pending == unchanged_pending


def test_a_key_of_another_device_and_of_the_claim_certificate(fleet: Fleet) -> None:
    """The key of another device's certificate is refused, and so is the claim certificate's own."""
    fleet.expect("gw-2")
    key = factories.ec_key()
    assert fleet.ask(Provisioned(key), DeviceId="gw-1") == allowed("gw-1")
    assert fleet.ask(Provisioned(key), DeviceId="gw-2") == REFUSED
    unchanged(fleet, fleet.event(Provisioned(fleet.claim_key), DeviceId="gw-2"))


def test_a_thing_of_another_is_not_taken(fleet: Fleet, logs: io.StringIO) -> None:
    """AWS IoT would attach the certificate to an existing thing, so the hook refuses another's name."""
    iot = boto3.client("iot")
    iot.create_thing(thingName="gw-1", attributePayload={"attributes": {"team": "other"}})
    unchanged(fleet, fleet.event(Provisioned(), DeviceId="gw-1"))
    assert "the thing gw-1 is another's" in logs.getvalue()
    iot.delete_thing(thingName="gw-1")
    iot.create_thing_type(thingTypeName="Firstboot")
    iot.create_thing(thingName="gw-1", thingTypeName="Firstboot")
    assert fleet.ask(Provisioned(), DeviceId="gw-1") == allowed("gw-1")


def test_a_certificate_of_one_device_names_it(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bootstrap certificate of one device its name counts, its key is pinned, and no other is said."""
    monkeypatch.setenv("FIRSTBOOT_STACK", "Firstboot")
    product.publish(groups={"gateways": group("gateways", product.factory, ways=ALL_WAYS)})
    fleet = Fleet.__new__(Fleet)
    fleet.product = product
    fleet.claim = product.bootstrap("gw-5")
    register(fleet.claim, "ACTIVE")
    unchanged(fleet, fleet.event(Provisioned(), DeviceId="gw-6"))
    made = Provisioned()
    assert fleet.ask(made) == allowed("gw-5")
    connected(fleet, "gw-5", made)
    board = product.factory.issue("gw-5", factories.ec_key())
    register(board, "ACTIVE")
    assert fleet.ask(Provisioned(), board) == REFUSED
    assert fleet.device("gw-5").refused_key is not None


@pytest.mark.parametrize(
    "operation", ["DescribeCertificate", "DescribeThing", "TransactWriteItems", "PutObject"]
)
def test_a_failure_of_aws_is_no_answer(fleet: Fleet, operation: str) -> None:
    """If AWS does not answer, the invocation fails, and a repeat then succeeds."""
    api = {"TransactWriteItems": clients.dynamodb(), "PutObject": clients.s3("123456789012")}.get(
        operation, clients.iot()
    )
    failing = itertools.count()

    def fail(**_: Any) -> None:
        if next(failing) == 0:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, operation)

    made = Provisioned()
    service = api.meta.service_model.service_id.hyphenize()
    api.meta.events.register(f"before-call.{service}.{operation}", fail)
    with pytest.raises(Unavailable):
        fleet.ask(made, DeviceId="gw-1")
    assert fleet.ask(made, DeviceId="gw-1") == allowed("gw-1")


def test_the_claim_certificate_is_asked_for_once(fleet: Fleet) -> None:
    """A process asks AWS IoT for a claim certificate once, because that call has a low quota."""
    fleet.expect("gw-2")
    asked: list[str] = []
    events = clients.iot().meta.events
    events.register("before-call.iot.DescribeCertificate", lambda **_: asked.append("x"))
    for name in ("gw-1", "gw-2"):
        assert fleet.ask(Provisioned(), DeviceId=name) == allowed(name)
    assert asked == ["x"]


def test_the_log_has_no_secret(fleet: Fleet, logs: io.StringIO) -> None:
    """The log has the device's name and the certificate's id, and no parameter of the device."""
    made = Provisioned()
    fleet.ask(made, DeviceId="gw-1", password="letmein")
    text = logs.getvalue()
    assert made.certificate_id in text
    assert "gw-1" in text
    assert "letmein" not in text


def test_register_completes_it(registering: Registering) -> None:
    """`register` gives the certificate that AWS IoT made the device's rights, and makes a typed thing."""
    product = registering.product
    registering.publish(ways=ALL_WAYS)
    fleet = Fleet.__new__(Fleet)
    fleet.product = product
    fleet.claim = product.bootstrap("gw-5")
    register(fleet.claim, "ACTIVE")
    made = Provisioned()
    assert fleet.ask(made) == allowed("gw-5")
    assert registering.work("gw-5") == {"batchItemFailures": []}
    assert registering.status(made.leaf) == "ACTIVE"
    assert registering.policies(made.leaf) == {"Firstboot-device", "Firstboot-grant-mqtt"}
    thing = boto3.client("iot").describe_thing(thingName="gw-5")
    assert thing["thingTypeName"] == "Firstboot"
    product.operate("devices.revoke", deviceId="gw-5")
    registering.until_quiet(json.dumps({"deviceId": "gw-5"}))
    assert registering.status(made.leaf) == "REVOKED"
    assert registering.policies(made.leaf) == set()
