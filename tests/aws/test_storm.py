"""A storm at the service: each refused device learns its own time, and refusals cost no calls."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError
from cryptography import x509

from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.domain import topics
from firstboot.domain.clock import epoch, from_epoch
from firstboot.domain.plans import Budget
from firstboot.domain.retry_slots import LONGEST_SECONDS
from firstboot.exchange import exchange
from firstboot.identity.known_issuers import KnownIssuers
from firstboot.pki import certificate, csr, der, path
from firstboot.vend import waiting
from tests import factories
from tests.aws.mqtt import Client
from tests.aws.product import Answer, Product
from tests.aws.test_issuance import FRESH
from tests.aws.test_mqtt import recorded
from tests.field.encode import resigned, tlv
from tests.fleets import fleet, group

START = from_epoch(1_795_900_020)
"""The beginning of a minute."""

PATH = "/role-aliases/telemetry/credentials"
TOO_MANY = {
    "TransactWriteItems": "ThrottlingException",
    "Sign": "ThrottlingException",
    "PutObject": "SlowDown",
    "GetItem": "ProvisionedThroughputExceededException",
    "AssumeRole": "Throttling",
    "UpdateItem": "ThrottlingException",
}


class Wire:
    """The AWS calls in order. Those in `throttled` are refused as too many, and the others are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.throttled: set[str] = set()
        make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            self.calls.append(operation)
            if operation in self.throttled:
                raise ClientError({"Error": {"Code": TOO_MANY[operation], "Message": ""}}, operation)
            return make(client, operation, parameters)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)

    def take(self) -> list[str]:
        """Return the calls since the last `take`."""
        calls, self.calls = self.calls, []
        return calls


class Storm:
    """A product whose clock stands still until a test moves it. `per_minute` is the limit of its group."""

    def __init__(self, product: Product, monkeypatch: pytest.MonkeyPatch, per_minute: int) -> None:
        # The backlog of AWS IoT is not read for every request either.
        monkeypatch.setattr(DynamoRateLimiter, "backlog_seconds", lambda *_: 0)
        self.product, self.now = product, START
        product.lambdas.clock = lambda: self.now
        budget = Budget(total=100_000, per_minute=per_minute, until=from_epoch(4_102_444_800))
        fleet_now = fleet(group("gateways", product.factory, budget=budget))
        product.publish(groups=fleet_now.groups)
        assert product.enroll(self.leaf("gw-first"), deviceId="another").status == 403
        self.wire = Wire(monkeypatch)

    def leaf(self, device_id: str) -> x509.Certificate:
        """Return a device's bootstrap certificate, always the same."""
        kept = self.product.__dict__.setdefault("leaves", {})
        if device_id not in kept:
            kept[device_id] = self.product.bootstrap(device_id)
        found: x509.Certificate = kept[device_id]
        return found

    def ask(self, device_id: str, key: factories.PrivateKey | None = None) -> Answer:
        """Ask for a certificate over mTLS."""
        return self.product.enroll(self.leaf(device_id), key)

    def fill(self, limit: int) -> None:
        """Use up the group's minute, as other processes do."""
        row = {"pk": {"S": f"MINUTE#gateways#{epoch(self.now) // 60}#0"}, "used": {"N": str(limit)}}
        boto3.client("dynamodb").put_item(TableName=self.product.table, Item=row)

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def storm(product: Product, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Storm]:
    """Return a function that begins a storm in a group with a limit a minute."""
    return lambda per_minute: Storm(product, monkeypatch, per_minute)


def waits(answer: Answer) -> int:
    """Return the seconds that an answer says, the same in its header and its body."""
    assert answer.headers["retry-after"] == str(answer.body["retryAfter"])
    seconds: int = answer.body["retryAfter"]
    return seconds


def test_each_refused_device_has_a_slot(storm: Callable[[int], Storm]) -> None:
    """Devices above a group's limit are told times in the next minutes, as many in each as the limit allows.

    Each one that comes at its time gets its certificate with three calls, so two requests are enough.
    """
    world = storm(6)
    answers = {f"gw-{n}": world.ask(f"gw-{n}") for n in range(20)}
    told = {name: waits(each) for name, each in answers.items() if each.status == 429}
    assert Counter(each.status for each in answers.values()) == {201: 6, 429: 14}
    assert list(told.values()) == [60 + 10 * n for n in range(14)]
    world.wire.take()
    for name, seconds in told.items():
        world.now = START + timedelta(seconds=seconds)
        assert world.ask(name).status == 201
        # The fleet in force is read once a minute.
        assert [each for each in world.wire.take() if each != "GetObject"] == FRESH


def test_a_refusal_with_a_known_limit_makes_no_call(storm: Callable[[int], Storm]) -> None:
    """A process that has met the limit refuses without a call, but for a block of slots now and then."""
    world = storm(600)
    world.fill(600)
    assert [world.ask(f"gw-{n}").status for n in range(3)] == [429] * 3
    world.wire.take()
    answers = [world.ask(f"gw-x{n}") for n in range(40)]
    assert {each.status for each in answers} == {429}
    assert set(world.wire.calls) == {"UpdateItem"}
    assert len(world.wire.take()) <= 6
    # The limit of another minute is not known to be reached.
    world.pass_(60)
    assert world.ask("gw-0").status == 201


def test_without_a_known_limit_no_outline_is_read(
    storm: Callable[[int], Storm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a limit is reached a request's certificate is read once, and its signature verified once."""
    world, done = storm(600), list[str]()
    for module, name in (
        (exchange, "outline"),
        (KnownIssuers, "group_of"),
        (waiting, "outline"),
        (path, "signed_by"),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name: done.append(name))
    leaf = world.product.certificate(world.ask("gw-0"))
    assert world.product.call("POST", "/v1/certificates/commit", leaf).status == 200
    assert world.product.call("GET", PATH, leaf).status == 200
    assert done == []


def test_a_refusal_verifies_one_signature(
    storm: Callable[[int], Storm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has met the limit, and knows a device's issuer, reads and verifies nothing else.

    The certificate is not read as a whole, and neither the body nor its CSR is.
    """
    world = storm(600)
    world.fill(600)
    assert [world.ask(f"gw-{n}").status for n in range(2)] == [429] * 2
    done: list[str] = []
    for module, name in ((path, "find"), (csr, "parse"), (csr, "verify"), (certificate, "parse")):
        monkeypatch.setattr(module, name, lambda *_, name=name: done.append(name))
    assert world.ask("gw-2").status == 429
    assert world.product.call("POST", "/v1/certificates", world.leaf("gw-3"), "no JSON").status == 429
    assert done == []


@pytest.mark.parametrize("way", ["proof", "mqtt"])
def test_other_ways_search_no_path(
    storm: Callable[[int], Storm], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A signed proof and a request over MQTT are refused before the certificate's path is searched, too."""
    world = storm(600)
    world.fill(600)

    def ask(name: str) -> str:
        """Return the code that a new device is told."""
        key = factories.ec_key()
        leaf = world.product.factory.issue(name, key)
        members = {"csr": factories.pem(factories.csr(factories.ec_key()))}
        if way == "proof":
            body, claims = json.dumps(members), {"iat": epoch(world.now)}
            told = world.product.prove("POST", "/v1/certificates", key, leaf, body, claims=claims).body
        else:
            client = Client(world.product, name, leaf)
            ((_, told),) = client.send(topics.CERTIFICATES, members | {"bootstrap": factories.pem(leaf)})
        code: str = told["code"]
        return code

    # The first one meets the limit, and the second one is the one in this second that may.
    assert [ask(f"gw-{n}") for n in range(2)] == ["enrollment-rate-exceeded"] * 2
    monkeypatch.setattr(path, "find", None)
    assert ask("gw-3") == "enrollment-rate-exceeded"


def test_a_certificate_that_cannot_be_read_is_refused_at_its_slot(storm: Callable[[int], Storm]) -> None:
    """A certificate of a known issuer is refused for its limit first, and for its form afterwards."""
    world = storm(600)
    world.fill(600)
    assert [world.ask(f"gw-{n}").status for n in range(2)] == [429] * 2
    bad = resigned(world.leaf("gw-1"), world.product.factory.key, lambda fields: [*fields, tlv(der.NULL)])
    text = base64.b64encode(bad).decode()
    assert world.product.call("POST", "/v1/certificates", text, "{}").status == 429
    world.pass_(60)
    answer = world.product.call("POST", "/v1/certificates", text, "{}")
    assert (answer.status, answer.body["code"]) == (401, "certificate-malformed")


def test_a_lost_answer_waits_at_most_for_a_slot(storm: Callable[[int], Storm]) -> None:
    """In a full minute a process lets one request a second pass, so a repeat gets its certificate.

    Another one gets it at its slot.
    """
    world, keys = storm(6), [factories.ec_key() for _ in range(2)]
    first = [world.ask(f"gw-{n}", key) for n, key in enumerate(keys)]
    world.fill(6)
    assert world.ask("gw-9").status == 429
    world.pass_(1)
    again = [world.ask(f"gw-{n}", key) for n, key in enumerate(keys)]
    assert [each.status for each in again] == [201, 429]
    world.pass_(waits(again[1]))
    assert world.ask("gw-1", keys[1]).body["serial"] == first[1].body["serial"]


def test_without_the_table_the_refusal_stays(storm: Callable[[int], Storm]) -> None:
    """A limit that is reached stays a 429 when no slot can be taken; its time is spread."""
    world = storm(6)
    world.fill(6)
    world.wire.throttled = {"UpdateItem"}
    answers = [world.ask(f"gw-{n}") for n in range(5)]
    assert [each.status for each in answers] == [429] * 5
    assert all(60 <= waits(each) <= 120 for each in answers)
    assert world.wire.calls.count("UpdateItem") == 1


@pytest.mark.parametrize("operation", FRESH)
def test_a_throttled_enrollment_has_a_slot(storm: Callable[[int], Storm], operation: str) -> None:
    """While AWS throttles a call of enrollments, one device a second meets it, and all get slots.

    Each device that comes at its time gets one certificate.
    """
    world, names = storm(10_000), [f"gw-{n}" for n in range(40)]
    world.wire.throttled = {operation}
    keys = {name: factories.ec_key() for name in names}
    answers = {name: world.ask(name, keys[name]) for name in names}
    recorded = 503 if operation == "TransactWriteItems" else 202
    assert [each.status for each in answers.values()] == [recorded] + [503] * 39
    assert {each.body.get("code") for each in answers.values()} <= {None, "unavailable"}
    assert {waits(each) for each in answers.values()} == {2, 3}
    assert world.wire.take().count(operation) == 1
    world.wire.throttled = set()
    world.pass_(3)
    assert [world.ask(name, keys[name]).status for name in names] == [201] * 40
    assert len(world.product.objects()) == 40


def test_a_renewal_waits_behind_no_enrollment(storm: Callable[[int], Storm]) -> None:
    """A device renews while enrollments are refused, and a throttled renewal takes no slot of theirs."""
    world = storm(6)
    identity = world.product.certificate(world.ask("gw-0"))
    world.fill(6)
    assert world.ask("gw-9").status == 429
    world.wire.throttled = {"Sign"}
    assert world.product.enroll(identity).status == 202
    world.wire.throttled = set()
    assert world.product.enroll(identity, factories.ec_key()).status in (201, 409)
    world.now += timedelta(days=300)
    world.fill(6)
    assert world.ask("gw-9").status == 429
    assert world.product.enroll(identity).status == 201


def test_an_imported_device_of_a_groups_ca_renews(storm: Callable[[int], Storm]) -> None:
    """An imported certificate may be of a CA that a group trusts. Its renewal is no enrollment either."""
    world = storm(6)
    imported = recorded(world.product, world.product.factory)
    world.fill(6)
    for name in ("gw-1", "gw-2"):
        leaf = world.leaf(name)
        client = Client(world.product, name, leaf)
        refused = client.refused(topics.CERTIFICATES, {"csr": client.csr(), "bootstrap": factories.pem(leaf)})
        assert refused == "enrollment-rate-exceeded"
    assert imported.ask(topics.CERTIFICATES, csr=imported.csr())["deviceId"] == "gw-9"


def test_the_gateways_word_is_not_enough(storm: Callable[[int], Storm]) -> None:
    """A certificate with a known issuer's name and another key is refused as ever, and takes no slot.

    The same holds for a signed proof whose signature is wrong.
    """
    world = storm(6)
    world.fill(6)
    assert world.ask("gw-0").status == 429
    world.wire.take()
    stranger = factories.authority().issue("gw-1", factories.ec_key())
    assert world.product.enroll(stranger).status == 401
    body = json.dumps({"csr": factories.pem(factories.csr(factories.ec_key()))})
    forged = world.product.prove("POST", "/v1/certificates", factories.ec_key(), world.leaf("gw-2"), body)
    assert forged.status == 401
    assert world.wire.take() == []


def test_one_certificate_moves_the_lane_by_a_slot(storm: Callable[[int], Storm]) -> None:
    """A device that repeats its refused request hundreds of times moves the slots of others by one."""
    world = storm(60)
    world.fill(60)
    world.pass_(59)
    assert [waits(world.ask("thief")) for _ in range(300)] == [1] * 300
    assert waits(world.ask("gw-1")) == 2


def test_over_mqtt_the_refusal_has_the_slot(storm: Callable[[int], Storm]) -> None:
    """Over MQTT a refused device is told its slot too, and an early refusal makes no other call."""
    world = storm(6)
    world.fill(6)
    leaf = world.leaf("gw-1")
    client = Client(world.product, "gw-1", leaf)
    members = {"csr": client.csr(), "bootstrap": factories.pem(leaf)}
    told = [answer for _ in range(3) for _, answer in client.send(topics.CERTIFICATES, members)]
    assert [each["retryAfter"] for each in told] == [60] * 3
    assert {each["code"] for each in told} == {"enrollment-rate-exceeded"}


def test_credentials_that_sts_throttles(storm: Callable[[int], Storm]) -> None:
    """While STS throttles, devices get AWS IoT's own 503 with the time of a slot, and then credentials."""
    world = storm(1_000)
    leaves = [world.product.certificate(world.ask(f"gw-{n}")) for n in range(4)]
    assert [world.product.call("POST", "/v1/certificates/commit", leaf).status for leaf in leaves] == [
        200
    ] * 4
    assert world.product.call("GET", PATH, leaves[0]).status == 200
    world.wire.take()
    world.wire.throttled = {"AssumeRole"}
    answers = [world.product.call("GET", PATH, leaf) for leaf in leaves]
    assert {each.status for each in answers} == {503}
    assert {json.dumps(each.body) for each in answers} == {'{"message": "Service unavailable"}'}
    assert {each.headers["retry-after"] for each in answers} == {"2", "3"}
    assert Counter(world.wire.take())["AssumeRole"] == 1
    client = Client(world.product, "gw-0", leaves[0])
    ((topic, told),) = client.send(topics.CREDENTIALS, {"roleAlias": "telemetry"})
    assert topic == topics.CREDENTIALS.rejected_topic("gw-0")
    assert (told["code"], told["retryAfter"] in (2, 3)) == ("unavailable", True)
    world.wire.throttled = set()
    world.pass_(3)
    assert [world.product.call("GET", PATH, leaf).status for leaf in leaves] == [200] * 4


def test_a_stranger_takes_no_slot_of_credentials(storm: Callable[[int], Storm]) -> None:
    """While STS throttles, only a certificate that our CA's key has signed gets a slot.

    The name of our CA in a certificate is not enough, and one that is malformed is refused for that.
    """
    world = storm(1_000)
    leaf = world.product.certificate(world.ask("gw-0"))
    assert world.product.call("POST", "/v1/certificates/commit", leaf).status == 200
    world.wire.throttled = {"AssumeRole"}
    assert world.product.call("GET", PATH, leaf).status == 503
    world.wire.take()
    name = world.product.ca.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    stranger = factories.authority(str(name)).issue("gw-1", factories.ec_key())
    assert stranger.issuer == world.product.ca.subject
    for presented in (stranger, world.leaf("gw-1"), "no certificate"):
        assert world.product.call("GET", PATH, presented).status in (400, 401, 403)
    assert world.wire.take() == []


def test_early_refusals_of_credentials_read_no_certificate(
    storm: Callable[[int], Storm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While STS throttles, a device of our CA is refused by its certificate's outline alone."""
    world = storm(1_000)
    leaves = [world.product.certificate(world.ask(f"gw-{n}")) for n in range(2)]
    for leaf in leaves:
        assert world.product.call("POST", "/v1/certificates/commit", leaf).status == 200
    world.wire.throttled = {"AssumeRole"}
    assert world.product.call("GET", PATH, leaves[0]).status == 503
    monkeypatch.setattr(certificate, "parse", None)
    assert world.product.call("GET", PATH, leaves[1]).status == 503


def test_early_refusals_of_credentials_with_a_proof(storm: Callable[[int], Storm], logs: io.StringIO) -> None:
    """While STS throttles, devices without client TLS are refused early too, and one of them is logged."""
    world, keys = storm(1_000), [factories.ec_key() for _ in range(3)]
    leaves = [world.product.certificate(world.ask(f"gw-{n}", key)) for n, key in enumerate(keys)]
    for leaf in leaves:
        assert world.product.call("POST", "/v1/certificates/commit", leaf).status == 200
    world.wire.throttled = {"AssumeRole"}
    assert world.product.call("GET", PATH, leaves[0]).status == 503
    world.wire.take()
    before = logs.getvalue().count('"refused"')
    for key, leaf in zip(keys, leaves, strict=True):
        claims = {"iat": epoch(world.now)}
        assert world.product.prove("GET", PATH, key, leaf, claims=claims).status == 503
    assert not {"AssumeRole", "GetItem"} & set(world.wire.take())
    assert logs.getvalue().count('"refused"') == before + 1


def test_devices_ask_for_readiness_in_their_order(
    storm: Callable[[int], Storm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices that ask get slots at the rate of the orders while AWS IoT's backlog is hours."""
    monkeypatch.setenv("FIRSTBOOT_IOT_RATE", "7")
    world = storm(1_000)
    leaves = [world.product.certificate(world.ask(f"gw-{n}")) for n in range(15)]
    for leaf in leaves:
        assert world.product.call("POST", "/v1/certificates/commit", leaf).status == 200
    monkeypatch.setattr(DynamoRateLimiter, "backlog_seconds", lambda *_: 14_000)
    told = [world.product.call("GET", "/v1/device", leaf).body["mqtt"]["retryAfter"] for leaf in leaves]
    assert told == [1] * 8 + [2] * 7
    # Without a storm there is no slot, and no call for one.
    monkeypatch.setattr(DynamoRateLimiter, "backlog_seconds", lambda *_: 10)
    world.wire.take()
    assert world.product.call("GET", "/v1/device", leaves[0]).body["mqtt"]["retryAfter"] >= 15
    assert set(world.wire.take()) <= {"GetItem", "GetObject"}


def test_no_slot_is_hours_ahead(storm: Callable[[int], Storm]) -> None:
    """In a lane that is full for an hour a device is told to come within the hour."""
    world = storm(1)
    world.fill(1)
    told = [waits(world.ask(f"gw-{n}")) for n in range(70)]
    assert told[:60] == [60 * n for n in range(1, 61)]
    assert all(LONGEST_SECONDS - 600 < each <= LONGEST_SECONDS for each in told[60:])


def test_a_known_limit_is_logged_once_a_second(storm: Callable[[int], Storm], logs: io.StringIO) -> None:
    """While a process knows that a group's minute is full, it logs one refusal a second."""
    full = storm(60)
    full.fill(60)
    logged = []
    for _ in range(3):
        assert {full.ask(f"gw-{number}").status for number in range(5)} == {429}
        lines = [json.loads(line) for line in logs.getvalue().splitlines()]
        logged.append(sum(line["message"] == "refused" for line in lines))
        full.pass_(1)
    assert {line["way"] for line in lines if line["message"] == "refused"} == {"mtls"}
    # In the first second a request meets the limit. Each second one passes, to be refused by the table.
    assert [logged[0], logged[1] - logged[0], logged[2] - logged[1]] == [4, 2, 2]
