"""Test two boards with copies of one disk, and so with one bootstrap key, which take each other's place."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstboot.aws import clients
from firstboot.aws.dynamodb import budget
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.domain.claim import RefusedBy
from tests import factories
from tests.attacks.test_10_refused_claims import NOW, enrollment, put
from tests.aws.product import Answer, Product
from tests.fleets import group

COMMIT = "/v1/certificates/commit"
DAY = timedelta(days=1)
PAUSE = timedelta(seconds=8_640)
"""A tenth of a day, for the ten enrollments that the group allows in one."""


class Board:
    """A board with a copy of the disk. It enrolls if its certificate is refused, as the client does."""

    def __init__(self, product: Product, bootstrap: x509.Certificate) -> None:
        self.product = product
        self.bootstrap = bootstrap
        self.leaf: x509.Certificate | None = None

    def boot(self) -> Answer:
        """Log in, or enroll with a new key and log in then; return the last answer."""
        if self.leaf and (answer := self.log_in()).status == 200:
            return answer
        answer = self.product.enroll(self.bootstrap)
        if answer.status != 201:
            return answer
        self.leaf = self.product.certificate(answer)
        return self.log_in()

    def log_in(self) -> Answer:
        """Log in with the certificate of the last enrollment."""
        return self.product.call("POST", COMMIT, self.leaf)


@pytest.fixture
def morning(product: Product) -> datetime:
    """Let the product's clock begin on the next morning."""
    moment = datetime.combine(datetime.now(UTC).date() + DAY, time(1), UTC)
    at(product, moment)
    return moment


def at(product: Product, moment: datetime) -> None:
    """Set the product's clock."""
    product.lambdas.clock = lambda: moment


@pytest.fixture
def boards(product: Product, morning: datetime) -> tuple[Board, Board]:
    """Return two boards that took each other's place until the limit of the day: the last is the holder."""
    bootstrap = product.factory.issue("gw-1", factories.ec_key(), days=3_000)
    pair = Board(product, bootstrap), Board(product, bootstrap)
    for number in range(10):
        assert pair[number % 2].boot().status == 200
    return pair


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 (hex) of a certificate's key."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def listed(product: Product) -> list[dict[str, Any]]:
    """Return the suspect devices."""
    devices: list[dict[str, Any]] = product.operate("devices.list", suspect=True)["result"]["devices"]
    return devices


def test_the_one_without_the_identity_is_let_in_after_a_pause(
    product: Product, boards: tuple[Board, Board], morning: datetime
) -> None:
    """Above the limit the board that is out waits for a tenth of the day and not until midnight.

    The holder of the active certificate works meanwhile. After the pause the other one is let in, and the
    former holder must pause in its place.
    """
    out, holder = boards
    refused = out.boot()
    assert (refused.status, refused.body["code"]) == (429, "reenrollment-rate-exceeded")
    assert refused.body["action"] == "wait"
    assert PAUSE.total_seconds() <= refused.body["retryAfter"] <= PAUSE.total_seconds() + 60
    assert holder.boot().status == 200
    at(product, morning + PAUSE - timedelta(seconds=1))
    assert out.boot().status == 429
    at(product, morning + PAUSE)
    assert out.boot().status == 200
    assert holder.boot().body["code"] == "reenrollment-rate-exceeded"
    at(product, morning + 2 * PAUSE)
    assert holder.boot().status == 200
    assert out.log_in().body["code"] == "certificate-not-current"


def test_the_holder_renews_while_enrollments_pause(product: Product, boards: tuple[Board, Board]) -> None:
    """The limit of enrollments does not concern the renewals of the board whose certificate is active."""
    out, holder = boards
    assert out.boot().status == 429
    assert holder.leaf
    assert product.enroll(holder.leaf).status == 201


def test_the_limit_rings_with_the_name(
    boards: tuple[Board, Board], logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal by the limit is counted in a metric, and the log names the device."""
    capsys.readouterr()
    boards[0].boot()
    assert "gw-1 enrolls too often" in logs.getvalue()
    assert '"ReenrollmentRateExceeded":[1' in capsys.readouterr().out.replace(" ", "")


def test_the_next_day_counts_anew(product: Product, boards: tuple[Board, Board], morning: datetime) -> None:
    """Near midnight the wait ends with the day."""
    at(product, morning + timedelta(hours=22))
    assert boards[0].boot().status == 200
    at(product, morning + timedelta(hours=22, minutes=50))
    assert 0 < boards[1].boot().body["retryAfter"] <= 660
    at(product, morning + timedelta(hours=23))
    assert boards[1].boot().status == 200


def test_a_day_s_enrollments_have_a_bound(product: Product) -> None:
    """Two boards that ask each quarter of an hour enroll at most six times in a day, where it allows two."""
    product.publish(groups={"gateways": group("gateways", product.factory, reenroll_per_day=2)})
    bootstrap = product.factory.issue("gw-1", factories.ec_key(), days=3_000)
    midnight = datetime.combine(datetime.now(UTC).date() + DAY, time(0), UTC)
    admitted = 0
    for quarter in range(96):
        at(product, midnight + quarter * timedelta(minutes=15))
        answer = product.enroll(bootstrap)
        if answer.status == 201:
            admitted += 1
            product.call("POST", COMMIT, product.certificate(answer))
    assert 2 < admitted <= 6


def test_both_boards_are_one_suspect_device(
    product: Product, boards: tuple[Board, Board], morning: datetime
) -> None:
    """`devices.list` with `suspect` has the device of the two boards, and not one that was reset once.

    Its record has each enrollment with day and generation, and their number for each day.
    """
    steady = Board(product, product.bootstrap("gw-2"))
    for _ in range(2):
        assert steady.boot().status == 200
        steady.leaf = None
    (found,) = listed(product)
    assert (found["deviceId"], found["suspicions"]) == ("gw-1", ["often"])
    assert [each["generation"] for each in found["enrollments"]] == list(range(1, 11))
    assert found["enrollmentsPerDay"] == {f"{morning:%Y-%m-%d}": 10}
    keys = {each["bootstrapKey"] for each in found["enrollments"]}
    assert keys == {fingerprint(boards[0].bootstrap)[:16]}
    others = product.operate("devices.show", deviceId="gw-2")["result"]
    assert [each["hasReplaced"] for each in others["enrollments"]] == [False, True]
    at(product, morning + 31 * DAY)
    assert listed(product) == []


def test_two_keys_that_take_turns_are_suspect(product: Product, morning: datetime) -> None:
    """A device whose two keys enroll by turns is listed, also if it takes months."""
    bootstrap = product.factory.issue("gw-1", factories.ec_key(), days=3_000)
    keys = factories.ec_key(), factories.ec_key()
    # A key is certified again from its certificate's renewal time on.
    for number, days in enumerate((0, 100, 300)):
        at(product, morning + days * DAY)
        answer = product.enroll(bootstrap, keys[number % 2])
        assert answer.status == 201, answer.body
        assert product.call("POST", COMMIT, product.certificate(answer)).status == 200
    assert [each["suspicions"] for each in listed(product)] == [["alternates"]]


@pytest.mark.parametrize("expected", [False, True])
def test_a_process_that_remembers_the_refusal_ends_the_pause_in_time(table: str, *, expected: bool) -> None:
    """A refused claim is refused without a transaction until its pause is over, and is then accepted."""
    records = DynamoDevices(clients.dynamodb(), table)
    if expected:
        records.expect("gateways", {enrollment("gw-1").device_id: {}}, NOW)
    asked = enrollment("gw-1", per_day=10, expected=expected)
    (counter,) = [each for each in budget.counters(asked) if each.refused_by is RefusedBy.DAY]
    end = NOW + timedelta(seconds=30)
    put(f"{counter.name}#0", used=11, againAt=int(end.timestamp()))
    for seconds in (0, 10, 29):
        refused = records.claim(replace(asked, now=NOW + timedelta(seconds=seconds)))
        assert refused
        assert (refused.by, refused.again_at) == (RefusedBy.DAY, end)
    assert records.claim(replace(asked, now=end)) is None
    row = boto3.client("dynamodb").get_item(TableName=table, Key={"pk": {"S": f"{counter.name}#0"}})["Item"]
    assert (row["used"], row["againAt"]) == ({"N": "12"}, {"N": str(int((end + PAUSE).timestamp()))})


def test_a_count_of_an_older_version_lasts_until_midnight(table: str) -> None:
    """A full count without the time of its last enrollment refuses until the day ends, as it did before."""
    records = DynamoDevices(clients.dynamodb(), table)
    asked = enrollment("gw-1", per_day=10)
    (counter,) = [each for each in budget.counters(asked) if each.refused_by is RefusedBy.DAY]
    put(f"{counter.name}#0", used=10)
    refused = records.claim(asked)
    assert refused
    assert (refused.by, refused.again_at) == (RefusedBy.DAY, None)
