"""An attacker has a claim certificate with its key, and tries device ids to find out which ones exist.

Only an id that is expected and free is worth something, since the attacker can enroll under it. The attacker
compares whole answers: status, headers and body, over HTTPS and over MQTT, and counts AWS calls, which take
time. The clock stands still and each request has the same id, because answers have both.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from cryptography import x509

from firstboot.aws import clients
from firstboot.aws.dynamodb import budget
from firstboot.domain.clock import from_epoch
from firstboot.domain.names import RETRY_PREFIX
from firstboot.domain.plans import Budget
from firstboot.domain.topics import CERTIFICATES
from tests import factories
from tests.aws import mqtt
from tests.aws.product import Answer, Product
from tests.field.encode import own
from tests.fleets import group

START = (datetime.now(UTC) + timedelta(days=1)).replace(hour=12, minute=0, second=20, microsecond=0)
WORTHLESS = ["absent", "elsewhere", "enrolled-elsewhere", "taken", "held", "revoked", "deleted"]
"""Device ids that an attacker can't enroll under, each for another reason."""


class Batch:
    """A group with a claim certificate, which the attacker has too, and devices in all states."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.now = START
        self.other = factories.authority("Other CA")
        product.lambdas.clock = lambda: self.now
        self.leaf = product.factory.issue("batch 7", factories.ec_key(), days=3_000)
        self.publish()
        self.expect("free", "taken", "held", "revoked", "deleted")
        product.operate("groups.expect", group="others", devices={"elsewhere": {}})
        self.key = factories.ec_key()
        self.taken = self.enroll("taken", self.key)
        product.call("POST", "/v1/certificates/commit", product.certificate(self.taken))
        assert self.enroll("held").status == 201
        product.operate("devices.revoke", deviceId="revoked")
        product.operate("devices.delete", deviceId="deleted")
        own = self.other.issue("enrolled-elsewhere", factories.ec_key(), days=3_000)
        assert product.enroll(own).status == 201
        product.lambdas.restart()

    def publish(self, reenroll: str = "refuse", per_day: int = 10, **changes: int) -> None:
        """Publish the fleet, with these changes to the group and its budget."""
        limits = {"total": 100, "per_minute": 100, "freeze_per_hour": 100} | changes
        until = from_epoch(4_000_000_000)
        shared = {"device_id": "request.deviceId", "reenroll": reenroll, "reenroll_per_day": per_day}
        sensors = group("sensors", self.product.factory, budget=Budget(until=until, **limits), **shared)
        others = group("others", self.other)
        self.product.publish(groups={"sensors": sensors, "others": others})

    def expect(self, *names: str) -> None:
        """Register these devices as expected."""
        self.product.operate("groups.expect", group="sensors", devices={name: {} for name in names})

    def enroll(self, name: str, key: factories.PrivateKey | None = None) -> Answer:
        """Ask for a certificate with the claim certificate, over HTTPS."""
        return self.product.enroll(self.leaf, key, deviceId=name)

    def enroll_by_mqtt(self, name: str) -> dict[str, Any]:
        """Ask for a certificate with the claim certificate over MQTT, and return the answer's members."""
        client = mqtt.Client(self.product, f"boot-{name}", self.leaf)
        request = {"csr": client.csr(), "bootstrap": factories.pem(self.leaf), "deviceId": name}
        ((topic, members),) = client.send(CERTIFICATES, request)
        return {"topic": topic.removeprefix(f"firstboot/boot-{name}/")} | members

    def fill(self, row: str, used: int) -> None:
        """Write the count of a counter's row, as other processes do; freeze the group for `FROZEN`."""
        if row == "FROZEN":
            if used:
                self.product.operate("groups.freeze", group="sensors")
            return
        kind = row.partition("#")[0]
        name = f"GUESS#{own(self.leaf).identifier}" if kind == "GUESS" else row
        period = f"#{int(self.now.timestamp()) // PERIODS[kind]}" if kind in PERIODS else ""
        item: Any = {"pk": {"S": f"{name}{period}#0"}, "used": {"N": str(used)}}
        boto3.client("dynamodb").put_item(TableName=self.product.table, Item=item)

    def count(self) -> int:
        """Return how many refused names are counted for the claim certificate."""
        rows = [row for row in self.product.rows() if row["pk"]["S"].startswith("GUESS#")]
        return sum(int(row["used"]["N"]) for row in rows)


@pytest.fixture
def batch(product: Product) -> Batch:
    """Return the group that is attacked."""
    return Batch(product)


@pytest.fixture
def wire(batch: Batch) -> list[str]:
    """Return the list to which each call to DynamoDB is appended.

    A process takes retry slots in blocks, before it knows for which names, so calls for them are left out.
    """
    made: list[str] = []

    def note(model: Any, params: Any, **_: object) -> None:
        if RETRY_PREFIX not in str(params["body"]):
            made.append(model.name)

    clients.dynamodb().meta.events.register("before-call.dynamodb", note)
    return made


def without_slot(answer: dict[str, Any], headers: dict[str, str]) -> list[dict[str, Any]]:
    """Return an answer and its headers without the device's retry slot, if a minute's limit refused it.

    Slots are given out in the order of the requests, and say nothing about a name.
    """
    if answer["code"] != "enrollment-rate-exceeded" or "names" in answer["detail"]:
        return [answer, headers]
    return [
        {name: value for name, value in each.items() if name.lower() not in ("retryafter", "retry-after")}
        for each in (answer, headers)
    ]


def compared(batch: Batch, wire: list[str], names: list[str], *, warm: bool) -> set[str]:
    """Return the different answers, with the AWS calls that each took, as texts."""
    found = set()
    for name in names:
        if not warm:
            batch.product.lambdas.restart()
            batch.product.call("GET", "/v1/nonce")
        wire.clear()
        answer = batch.enroll(name)
        found.add(json.dumps([answer.status, *without_slot(answer.body, answer.headers), wire]))
    return found


@pytest.mark.parametrize("warm", [False, True], ids=["new process", "same process"])
def test_all_worthless_names_have_one_answer(batch: Batch, wire: list[str], *, warm: bool) -> None:
    """An id that is unknown, taken, revoked, deleted or another group's gets the same answer in every byte.

    It takes the same calls. The device is told to come back.
    """
    batch.enroll("absent")  # so that a process that stays has refused a name before
    (answer,) = compared(batch, wire, WORTHLESS, warm=warm)
    status, body, headers, _ = json.loads(answer)
    assert (status, body["code"], body["action"]) == (403, "device-not-expected", "wait")
    assert int(headers["retry-after"]) == body["retryAfter"]
    assert 900 <= body["retryAfter"] <= 960


def test_all_worthless_names_have_one_answer_over_mqtt(batch: Batch) -> None:
    """Over MQTT the answers about worthless ids are the same too, and have the same topic."""
    answers = [batch.enroll_by_mqtt(name) for name in WORTHLESS]
    assert answers[0]["code"] == "device-not-expected"
    assert all(answer == answers[0] for answer in answers)


CLOSED: dict[str, tuple[Callable[[Batch], object], str]] = {
    "frozen": (lambda batch: batch.product.operate("groups.freeze", group="sensors"), "enrollment-frozen"),
    "spent": (lambda batch: batch.publish(total=2), "enrollment-budget-spent"),
    "at its rate": (lambda batch: batch.publish(per_minute=2), "enrollment-rate-exceeded"),
    "at its threshold": (lambda batch: batch.publish(freeze_per_hour=2), "enrollment-frozen"),
    "revoked certificate": (
        lambda batch: batch.product.operate("factory.revoke", certificate=factories.pem(batch.leaf)),
        "bootstrap-revoked",
    ),
}


@pytest.mark.parametrize("warm", [False, True], ids=["new process", "same process"])
@pytest.mark.parametrize("state", CLOSED)
def test_a_closed_group_answers_each_name_alike(
    batch: Batch, wire: list[str], state: str, *, warm: bool
) -> None:
    """A group that enrolls no device now gives an expected id the answer of any other, after the same calls.

    The ids are not counted as guesses, because nothing was learned about them.
    """
    close, code = CLOSED[state]
    close(batch)
    for _ in range(2):  # at the threshold the first refusal freezes the group, and the second is remembered
        batch.enroll("absent")
    (answer,) = compared(batch, wire, [*WORTHLESS, "free"], warm=warm)
    assert json.loads(answer)[1]["code"] == code
    over_mqtt = [without_slot(batch.enroll_by_mqtt(name), {})[0] for name in [*WORTHLESS, "free"]]
    assert {each["code"] for each in over_mqtt} == {code}
    assert all(each == over_mqtt[-1] for each in over_mqtt)
    assert batch.count() == 0


PERIODS = {"MINUTE": 60, "HOUR": 3_600, "GUESS": 3_600}


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ("FROZEN", "enrollment-frozen"),
        ("BUDGET#sensors", "enrollment-budget-spent"),
        ("HOUR#sensors", "enrollment-frozen"),
        ("MINUTE#sensors", "enrollment-rate-exceeded"),
        ("GUESS", "enrollment-rate-exceeded"),
    ],
)
def test_a_process_that_refused_a_name_sees_what_closes_the_group(
    batch: Batch, wire: list[str], row: str, code: str
) -> None:
    """A process that has refused a name and reads since then answers each name of a closed group alike."""
    found = set()
    for name in ("absent", "taken", "free"):
        batch.product.operate("groups.thaw", group="sensors")
        batch.fill(row, 0)
        batch.product.lambdas.restart()
        assert batch.enroll("absent").body["code"] == "device-not-expected"
        batch.fill(row, 600)
        wire.clear()
        answer = batch.enroll(name)
        assert answer.body["code"] == code
        found.add(json.dumps([*without_slot(answer.body, answer.headers), wire]))
    assert len(found) == 1


def test_a_device_without_enrollments_today_is_no_exception(batch: Batch) -> None:
    """In a group that replaces certificates, an id that enrolled often enough today gets the one answer."""
    batch.publish(reenroll="replace", per_day=1)
    certificate = batch.product.certificate(batch.enroll("free"))
    batch.product.call("POST", "/v1/certificates/commit", certificate)
    # The process decides by its transaction first, and then by what it remembers.
    answers = [batch.enroll(name) for name in ("free", "absent", "free", "absent")]
    assert answers[0].body["code"] == "device-not-expected"
    assert all(answer == answers[0] for answer in answers)


def test_the_threshold_is_met_by_each_name_alike(batch: Batch) -> None:
    """At the hour's threshold an unknown id freezes the group, as an expected one does."""
    batch.publish(freeze_per_hour=2)
    assert batch.enroll("absent").body["code"] == "enrollment-frozen"
    assert batch.product.operate("groups.show", group="sensors")["result"]["frozenAt"]


@pytest.mark.parametrize("state", CLOSED)
def test_the_holder_of_the_key_gets_its_certificate(batch: Batch, state: str) -> None:
    """A repeat with the device's own key is answered with its certificate, also by a closed group.

    With a revoked claim certificate there is none.
    """
    CLOSED[state][0](batch)
    for _ in range(3):
        again = batch.enroll("taken", batch.key)
        if state == "revoked certificate":
            assert again.body["code"] == "bootstrap-revoked"
        else:
            assert (again.status, again.body["serial"]) == (201, batch.taken.body["serial"])


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let a claim certificate be refused with five names in an hour, and return the limit."""
    monkeypatch.setattr(budget, "NAME_GUESSES_PER_HOUR", 5)
    return 5


def test_guesses_are_bounded(
    batch: Batch, wire: list[str], few: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Above the limit of guesses the claim certificate enrolls no name until the hour ends, and it rings.

    An expected id is refused as well, by each process, and nothing more is written.
    """
    for number in range(few):
        assert batch.enroll(f"guess-{number}").body["code"] == "device-not-expected"
    assert '"NameGuessLimit"' not in capsys.readouterr().out
    for _ in range(2):
        for name in ("guess-9", "taken", "free"):
            answer = batch.enroll(name)
            assert (answer.status, answer.body["code"]) == (429, "enrollment-rate-exceeded")
            assert 0 < answer.body["retryAfter"] - (3_600 - START.second) <= 60
            assert (
                answer.body["detail"] == "The claim certificate was refused with too many names in this hour"
            )
        assert '"NameGuessLimit"' in capsys.readouterr().out
        batch.product.lambdas.restart()
    assert batch.count() == few
    wire.clear()
    for number in range(3):
        batch.enroll(f"guess-{number}")
    assert wire.count("UpdateItem") == 0
    assert batch.enroll("taken", batch.key).status == 201  # a repeat is no guess
    batch.now = START + timedelta(hours=1)
    assert batch.enroll("free").status == 201


def test_guesses_at_once_are_bounded(batch: Batch) -> None:
    """A guess gets no answer about the name if other guesses reach the limit before it is counted."""
    events = clients.dynamodb().meta.events
    events.register("before-call.dynamodb.UpdateItem", lambda **_: batch.fill("GUESS", 600))
    assert batch.enroll("absent").body["code"] == "enrollment-rate-exceeded"


def test_another_claim_certificate_is_unaffected(batch: Batch, few: int) -> None:
    """The guesses with one claim certificate stop no device with another one."""
    for number in range(few + 1):
        batch.enroll(f"guess-{number}")
    other: x509.Certificate = batch.product.factory.issue("batch 8", factories.ec_key())
    assert batch.product.enroll(other, deviceId="free").status == 201


def test_the_operator_sees_the_reason(
    batch: Batch, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log and the metrics have the reason that the attacker does not get, and each guess is counted."""
    codes = ["group-mismatch", "already-enrolled", "enrollment-in-progress", "device-revoked"]
    metrics = ["GroupMismatch", "AlreadyEnrolled", "EnrollmentInProgress", "DeviceRevoked"]
    for name, code, metric in zip(["elsewhere", "taken", "held", "revoked"], codes, metrics, strict=True):
        batch.enroll(name)
        assert f'"reason":"{name}: {code}' in logs.getvalue()
        printed = capsys.readouterr().out
        assert f'"{metric}":[1.0]' in printed
        assert '"NameGuessed":[1.0]' in printed


def test_honest_devices_come_back_by_themselves(batch: Batch) -> None:
    """A device with a lost key, and one that is named too late, get their certificates at their next try."""
    waits = [batch.enroll(name).body["retryAfter"] for name in ("held", "late")]
    batch.expect("late")
    batch.now = START + timedelta(seconds=min(waits))
    assert [batch.enroll(name).status for name in ("held", "late")] == [201, 201]


def test_a_key_of_another_device_says_nothing_about_names(batch: Batch) -> None:
    """With a key that belongs to another device, an expected id gets the same answer as any other."""
    answers = [batch.enroll(name, batch.key) for name in [*WORTHLESS, "free"] if name != "taken"]
    assert answers[0].body["code"] == "key-in-use"
    assert all(answer == answers[0] for answer in answers)
