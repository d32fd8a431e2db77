"""Test claim certificates, which many devices share, and the limits on what a holder can do."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from firstboot.aws import clients
from firstboot.aws.dynamodb import budget
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.domain.clock import from_epoch
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import device_id
from firstboot.domain.plans import Budget
from firstboot.pki import certificate, csr, signature
from tests import factories
from tests.aws.product import Answer, Product
from tests.fleets import group

AGES = from_epoch(4_000_000_000)


@pytest.fixture
def claim() -> factories.PrivateKey:
    """Return the claim certificate's key, which every device of the batch has."""
    return factories.ec_key()


class Batch:
    """Devices that share a claim certificate."""

    def __init__(self, product: Product, claim: factories.PrivateKey, **changes: Any) -> None:
        self.product = product
        self.claim = claim
        self.leaf = product.factory.issue("batch 7", claim)
        self.budget(**changes)

    def budget(self, reenroll: str = "refuse", **changes: int) -> None:
        """Publish the group with this budget."""
        limits = {"total": 100, "per_minute": 100, "freeze_per_hour": 100} | changes
        shared = group(
            "sensors",
            self.product.factory,
            device_id="request.deviceId",
            reenroll=reenroll,
            budget=Budget(until=AGES, **limits),
        )
        self.product.publish(groups={"sensors": shared})

    def expect(self, *names: str) -> dict[str, Any]:
        """Register these devices as expected."""
        return self.product.operate("groups.expect", group="sensors", devices={name: {} for name in names})

    def enroll(self, name: str | None, key: factories.PrivateKey | None = None) -> Answer:
        """Ask for a certificate with the claim certificate."""
        members = {"deviceId": name} if name is not None else {}
        return self.product.enroll(self.leaf, key, **members)


@pytest.fixture
def batch(product: Product, claim: factories.PrivateKey, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Return a batch with a stopped clock, because the counts of one minute must not spread over two."""
    moment = datetime.now(UTC)
    product.lambdas.clock = lambda: moment
    return Batch(product, claim)


def _code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body["code"]


def test_a_device_names_itself(batch: Batch) -> None:
    """With a claim certificate, the device id in the request becomes that of the certificate."""
    batch.expect("sn-1", "sn-2")
    for name in ("sn-1", "sn-2"):
        answer = batch.enroll(name)
        assert (answer.status, answer.body["deviceId"]) == (201, name)
        assert batch.product.call("GET", "/v1/device", batch.product.certificate(answer)).status == 200


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        (None, (400, "device-id-required")),
        ("sn-9", (403, "device-not-expected")),
        ("sn/1", (400, "device-id-invalid")),
        ("boot-1", (400, "device-id-invalid")),
    ],
)
def test_only_an_expected_name_enrolls(batch: Batch, name: str | None, refusal: tuple[int, str]) -> None:
    """A missing, unexpected or invalid device id is refused, each with its own code."""
    batch.expect("sn-1")
    before = batch.product.rows()
    assert _code(batch.enroll(name)) == refusal
    counted = [row for row in batch.product.rows() if row["pk"]["S"].startswith("GUESS#")]
    assert len(counted) == (refusal == (403, "device-not-expected"))
    assert [row for row in batch.product.rows() if row not in counted] == before


def test_the_claims_own_key_is_never_certified(batch: Batch, claim: factories.PrivateKey) -> None:
    """The key of a claim certificate is never certified, because every device of the batch has it."""
    batch.expect("sn-1")
    assert _code(batch.enroll("sn-1", claim)) == (400, "claim-key-refused")
    assert batch.product.objects() == []


def test_a_device_of_its_own_certificate_may_keep_its_key(product: Product) -> None:
    """A per-device bootstrap certificate's key may be certified: a secure element cannot make another."""
    key = factories.ec_key()
    assert product.enroll(product.factory.issue("gw-1", key), key).status == 201


def test_an_enrolled_name_is_refused(batch: Batch, logs: io.StringIO) -> None:
    """A shared group refuses by default a second enrollment under the same device id.

    The answer is that of a name that is not expected, and the log has the reason.
    """
    batch.expect("sn-1")
    first = batch.product.certificate(batch.enroll("sn-1"))
    assert batch.product.call("POST", "/v1/certificates/commit", first).status == 200
    assert _code(batch.enroll("sn-1")) == (403, "device-not-expected")
    assert '"reason":"sn-1: already-enrolled"' in logs.getvalue()


def test_an_expected_device_may_be_revoked_before_it_comes(batch: Batch) -> None:
    """An expected device that was revoked cannot enroll, even if it is expected again."""
    batch.expect("sn-1")
    assert batch.product.operate("devices.revoke", deviceId="sn-1")["result"]["status"] == "revoked"
    assert _code(batch.enroll("sn-1")) == (403, "device-not-expected")
    assert batch.expect("sn-1")["result"]["expected"] == 1  # has no effect
    assert _code(batch.enroll("sn-1")) == (403, "device-not-expected")


def test_attributes_of_the_manifest_are_the_devices(batch: Batch) -> None:
    """Attributes that were given for an expected device are the device's after its enrollment."""
    batch.product.operate("groups.expect", group="sensors", devices={"sn-1": {"site": "berlin"}})
    leaf = batch.product.certificate(batch.enroll("sn-1"))
    assert batch.product.call("GET", "/v1/device", leaf).body["attributes"] == {"site": "berlin"}


def test_crossing_the_threshold_freezes_the_group(batch: Batch) -> None:
    """More enrollments in an hour than the budget allows freeze the group until an operator thaws it."""
    batch.budget(freeze_per_hour=2)
    batch.expect("sn-1", "sn-2", "sn-3", "sn-4")
    assert [batch.enroll(f"sn-{n}").status for n in (1, 2)] == [201, 201]
    crossed = batch.enroll("sn-3")
    assert (*_code(crossed), crossed.body["action"]) == (403, "enrollment-frozen", "wait")
    batch.budget(freeze_per_hour=99)  # a higher limit alone does not thaw
    assert _code(batch.enroll("sn-4")) == (403, "enrollment-frozen")
    shown = batch.product.operate("groups.show", group="sensors")["result"]
    assert shown["frozenAt"]
    assert shown["budget"]["spent"] == 2
    assert batch.product.operate("groups.thaw", group="sensors")["result"]["frozenAt"] is None
    assert batch.enroll("sn-4").status == 201


def test_a_frozen_group_is_frozen_in_every_shard(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen group refuses every name, in each shard of its budget, and enrolled devices are unaffected."""
    monkeypatch.setattr(budget, "_PER_SHARD", 10)
    names = [f"sn-{n}" for n in range(12)]
    batch.expect("sn-a", *names)
    leaf = batch.product.certificate(batch.enroll("sn-a"))
    assert batch.product.operate("groups.freeze", group="sensors")["result"]["frozenAt"]
    assert {_code(batch.enroll(name)) for name in names} == {(403, "enrollment-frozen")}
    assert batch.product.call("GET", "/v1/device", leaf).status == 200
    assert batch.product.enroll(leaf).status == 201  # a renewal is no enrollment


def test_a_repeat_in_a_frozen_group_is_answered(batch: Batch) -> None:
    """A repeated request in a frozen group is answered with the certificate that was issued before."""
    batch.expect("sn-1")
    key = factories.ec_key()
    first = batch.enroll("sn-1", key)
    batch.product.operate("groups.freeze", group="sensors")
    again = batch.enroll("sn-1", key)
    assert (again.status, again.body["serial"]) == (201, first.body["serial"])


def test_re_enrollments_of_a_device_are_limited_by_day(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device can enroll again only so often a day, which stops two holders of one certificate."""
    moment = datetime(2026, 11, 22, 1, tzinfo=UTC)
    bootstrap = product.factory.issue("gw-1", factories.ec_key(), days=3_000)
    product.publish(groups={"gateways": group("gateways", product.factory, reenroll_per_day=2)})
    codes = []
    for hour in range(1, 4):
        moment = datetime.now(UTC).replace(hour=hour, minute=0) + timedelta(days=1)
        product.lambdas.clock = lambda moment=moment: moment  # type: ignore[misc]
        answer = product.enroll(bootstrap)
        codes.append(answer.status)
        if answer.status == 201:
            product.call("POST", "/v1/certificates/commit", product.certificate(answer))
    assert codes == [201, 201, 429]
    assert (answer.body["code"], answer.body["action"]) == ("reenrollment-rate-exceeded", "wait")
    next_day = moment + timedelta(days=1)
    product.lambdas.clock = lambda: next_day
    assert product.enroll(bootstrap).status == 201


def test_a_full_rate_is_no_reason_to_try_other_shards(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal for the rate makes one transaction, and not one in each shard."""
    monkeypatch.setattr(budget, "_PER_SHARD", 10)
    batch.budget(per_minute=1)
    batch.expect("sn-1", "sn-2")
    assert batch.enroll("sn-1").status == 201
    calls: list[object] = []
    client = clients.dynamodb()
    transact = client.transact_write_items

    def counted(**asked: Any) -> Any:
        calls.append(asked)
        return transact(**asked)

    monkeypatch.setattr(client, "transact_write_items", counted)
    assert _code(batch.enroll("sn-2")) == (429, "enrollment-rate-exceeded")
    assert len(calls) == 1


def test_each_device_of_a_claim_certificate_has_a_slot(batch: Batch) -> None:
    """In a full minute the devices of a claim certificate get slots by their ids, and none without one."""
    batch.budget(per_minute=1)
    batch.expect("sn-1", "sn-2", "sn-3", "sn-4", "sn-5")
    assert batch.enroll("sn-1").status == 201
    told = [batch.enroll(f"sn-{n}") for n in (2, 3, 4, 4, 5)]
    assert {_code(each) for each in told} == {(429, "enrollment-rate-exceeded")}
    first = told[0].body["retryAfter"]
    assert [each.body["retryAfter"] - first for each in told] == [0, 60, 120, 120, 180]
    assert _code(batch.enroll(None)) == (400, "device-id-required")


def test_a_known_limit_is_answered_by_the_claim_certificate_and_the_id(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has admitted the claim certificate refuses by it and the id, without any check."""
    batch.budget(per_minute=1)
    batch.expect("sn-1", "sn-2", "sn-3")
    assert [batch.enroll(f"sn-{n}").status for n in (1, 2, 3)] == [201, 429, 429]
    for module, name in ((certificate, "parse"), (csr, "parse"), (csr, "parse_der"), (signature, "is_valid")):
        monkeypatch.setattr(module, name, None)
    ask = partial(batch.product.call, "POST", "/v1/certificates", batch.leaf)
    body = json.dumps({"deviceId": "sn-4", "csr": "no CSR"})
    assert _code(ask(body)) == (429, "enrollment-rate-exceeded")
    pkcs10 = {"content-type": "application/pkcs10"}
    assert _code(ask("no CSR", pkcs10, {"deviceId": "sn-5"})) == (429, "enrollment-rate-exceeded")


@pytest.mark.parametrize("name", ["", "a/b", "x" * 65, "boot-1", "\ud800", "x" * 10_000])
def test_an_id_that_no_device_may_have_takes_no_slot(batch: Batch, name: str) -> None:
    """In a full minute a request with an invalid id is refused for that, and moves no other device's slot."""
    batch.budget(per_minute=1)
    batch.expect("sn-1", "sn-2", "sn-3", "sn-4")
    told = [batch.enroll(f"sn-{n}") for n in (1, 2, 3)]
    assert [each.status for each in told] == [201, 429, 429]
    pkcs10 = {"content-type": "application/pkcs10"}
    body = factories.pem(factories.csr(factories.ec_key()))
    ask = partial(batch.product.call, "POST", "/v1/certificates", batch.leaf)
    assert ask(body, pkcs10, {"deviceId": name}).status in (400, 403)
    assert batch.enroll("sn-4").body["retryAfter"] - told[2].body["retryAfter"] == 60


def test_the_devices_of_a_claim_certificate_can_be_listed(batch: Batch) -> None:
    """The devices that a claim certificate enrolled can be listed, without any others."""
    batch.expect("sn-1", "sn-2", "sn-3")
    other = Batch(batch.product, factories.ec_key())
    for who, name in ((batch, "sn-1"), (batch, "sn-2"), (other, "sn-3")):
        assert who.enroll(name).status == 201
    fingerprint = batch.leaf.fingerprint(SHA256()).hex()
    listed = batch.product.operate("devices.list", enrolledBy=fingerprint)["result"]["devices"]
    assert sorted(device["deviceId"] for device in listed) == ["sn-1", "sn-2"]


def test_devices_are_expected_in_bulk_and_again(batch: Batch) -> None:
    """More devices than a transaction holds can be expected in one call, and a repetition changes nothing."""
    names = [f"sn-{n}" for n in range(230)]
    for new in (230, 0):
        counted = {"expected": 230, "new": new, "known": 230 - new}
        assert batch.expect(*names)["result"] == counted | {"foreign": [], "warnings": []}
    assert len([row for row in batch.product.rows() if row["pk"]["S"].startswith("DEV#")]) == 230


@pytest.mark.parametrize(("devices", "is_known"), [(4, True), (9, False)])
def test_records_that_other_calls_write_are_known_too(
    product: Product, monkeypatch: pytest.MonkeyPatch, devices: int, *, is_known: bool
) -> None:
    """A record that another call writes before each attempt is known; the attempts have an end."""
    transact = DynamoDevices._transact

    def raced(self: DynamoDevices, items: list[dict[str, Any]]) -> None:
        transact(self, items[:1])
        transact(self, items)

    monkeypatch.setattr(DynamoDevices, "_transact", raced)
    names = [device_id(f"sn-{number}") for number in range(devices)]
    with nullcontext() if is_known else pytest.raises(Unavailable):
        known = product.records.expect("sensors", {name: {} for name in names}, datetime.now(UTC))
        assert known == dict.fromkeys(names, "sensors")


def test_a_device_of_another_group_is_left_alone(batch: Batch) -> None:
    """An expected device of another group is reported as foreign, and keeps its group."""
    batch.expect("sn-1")
    product = batch.product
    both = {"sensors": group("sensors", product.factory), "others": group("others", product.factory)}
    product.publish(groups=both)
    answer = product.operate("groups.expect", group="others", devices={"sn-1": {}, "sn-2": {}})
    counted = {"expected": 1, "new": 1, "known": 0, "foreign": ["sn-1"], "warnings": []}
    assert answer["result"] == counted
    assert product.operate("devices.show", deviceId="sn-1")["result"]["group"] == "sensors"


@pytest.mark.parametrize(
    ("operation", "parameters", "code"),
    [
        ("groups.show", {"group": "absent"}, "group-not-found"),
        ("groups.expect", {"group": "absent", "devices": {"sn-1": {}}}, "group-not-found"),
        ("groups.freeze", {"group": "free"}, "budget-missing"),
        ("groups.thaw", {"group": "free"}, "budget-missing"),
        ("groups.show", {"group": 1}, "malformed-request"),
        ("groups.show", {"group": "sensors", "x": 1}, "malformed-request"),
        ("groups.expect", {"group": "sensors", "devices": {}}, "malformed-request"),
        ("groups.expect", {"group": "sensors", "devices": {"sn-1": 1}}, "malformed-request"),
        ("groups.expect", {"group": "sensors", "devices": {"sn-1": {"site": 1.5}}}, "malformed-request"),
        ("groups.expect", {"group": "sensors", "devices": {"sn/1": {}}}, "device-id-invalid"),
        ("groups.expect", {"group": "sensors", "devices": {"sn-1": {"sight": "x"}}}, "attributes-invalid"),
        (
            "groups.expect",
            {"group": "sensors", "devices": {"sn-1": {"site": "x" * 2_048}}},
            "attributes-invalid",
        ),
        (
            "groups.expect",
            {"group": "sensors", "devices": {f"sn-{n}": {} for n in range(501)}},
            "malformed-request",
        ),
        ("devices.list", {"enrolledBy": "AB"}, "malformed-request"),
    ],
)
def test_a_wrong_call_about_a_group_is_refused(
    product: Product, operation: str, parameters: dict[str, Any], code: str
) -> None:
    """Each wrong call about a group is refused with its code, and nothing is written."""
    free = group("free", product.factory, budget=None)
    product.publish(groups={"sensors": group("sensors", product.factory), "free": free})
    assert product.operate(operation, **parameters)["problem"]["code"] == code
    assert product.rows() == []


def test_a_group_without_a_budget_is_shown(product: Product) -> None:
    """A group without a budget is shown without counts."""
    product.publish(groups={"free": group("free", product.factory, budget=None)})
    shown = product.operate("groups.show", group="free")["result"]
    assert (shown["budget"], shown["frozenAt"]) == (None, None)
