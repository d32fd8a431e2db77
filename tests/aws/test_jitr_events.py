"""Events of waiting certificates pass once in a pause, and what decisions take of AWS IoT's quotas."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from firstboot.aws.dynamodb.jitr import DynamoAttempts
from firstboot.domain.names import JITR_PREFIX, RATE_LIMITER_KEY
from firstboot.domain.rate_limiter import interval
from firstboot.register.slots import JITR_PATIENCE, JITR_SHARE
from tests.aws.product import Product, make_policies
from tests.aws.registering import Registering
from tests.aws.test_jitr import admit, arrive, deliver, event, passed, status, waiting

RATE = 7
"""The default of `iotRate`."""
# AWS General Reference, "AWS IoT Core endpoints and quotas": API requests a second for each account.
QUOTAS = {
    "RegisterCertificateWithoutCA": 10,
    "UpdateCertificate": 10,
    "DescribeCertificate": 10,
    "AttachPolicy": 15,
}


class Time:
    """The functions' clock, which stands still until a test sets it forward."""

    def __init__(self, product: Product) -> None:
        # The fixtures took slots by the real clock.
        self.at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10)
        product.lambdas.clock = lambda: self.at
        self._product = product

    def forward(self, **length: float) -> None:
        """Set the clock forward."""
        self.at += timedelta(**length)

    @property
    def waited(self) -> float:
        """The seconds that the functions have waited."""
        return self._product.lambdas.paused.total_seconds()


@pytest.fixture
def clock(product: Product, monkeypatch: pytest.MonkeyPatch) -> Time:
    """Return the clock of a product that has the default rate."""
    make_policies(product.fleet)
    monkeypatch.setenv("FIRSTBOOT_IOT_RATE", str(RATE))
    return Time(product)


def row(product: Product, key: str) -> dict[str, Any]:
    """Return a row of the table, or an empty one."""
    found: Any = boto3.client("dynamodb").get_item(TableName=product.table, Key={"pk": {"S": key}})
    return dict(found.get("Item", {}))


def slots(product: Product, time: Time) -> float:
    """Return how many slots are taken ahead of the time."""
    following = row(product, RATE_LIMITER_KEY).get("next", {"N": "0"})["N"]
    ahead = int(following) - time.at.timestamp() * 1_000
    return max(0, ahead) / (interval(RATE) / timedelta(milliseconds=1))


def stuck(product: Product, name: str = "gw-*") -> str:
    """Return the id of a waiting certificate that is never admitted, because its name is no device id."""
    return arrive(product.bootstrap(name))


def test_one_certificate_does_not_delay_registrations(registering: Registering, clock: Time) -> None:
    """A certificate that connects eight times a second takes one slot in a minute.

    A registration meanwhile waits for no turn.
    """
    product = registering.product
    product.lambdas.restart()
    certificate = stuck(product)
    registering.enroll("gw-7")
    deliver(product, event(certificate))
    for _ in range(59):
        clock.forward(seconds=1)
        assert deliver(product, *[event(certificate)] * 8) == []
    assert waiting("ApproximateNumberOfMessages") == 1
    assert deliver(product, *passed()) == []
    assert slots(product, clock) <= 1
    clock.forward(seconds=1)
    assert registering.work("gw-7") == {"batchItemFailures": []}
    assert clock.waited == 0


def test_events_do_not_wait_for_turns(product: Product, clock: Time) -> None:
    """Events pass or come too soon while all slots are taken, so they never wait in their queue."""
    certificates = [stuck(product, f"gw {number}") for number in range(10)]
    boto3.client("dynamodb").put_item(
        TableName=product.table,
        Item={"pk": {"S": RATE_LIMITER_KEY}, "next": {"N": str(int(clock.at.timestamp() * 1_000) + 10**6)}},
    )
    assert deliver(product, *map(event, certificates)) == []
    assert waiting("ApproximateNumberOfMessages") == 10
    assert clock.waited == 0


def test_an_event_that_comes_too_soon_is_counted_and_not_logged(
    product: Product, clock: Time, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """An event that comes too soon makes one call to the table, a metric and no line in the log."""
    certificate = stuck(product)
    admit(product, certificate)
    logs.truncate(0)
    capsys.readouterr()
    assert deliver(product, event(certificate)) == []
    assert (passed(), logs.getvalue()) == ([], "")
    assert '"NewcomerTooSoon":[1.0]' in capsys.readouterr().out


def test_of_two_events_at_once_one_passes(
    product: Product, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If two events find the same row, the second to write it comes too soon."""
    certificate = stuck(product)
    made: list[str] = []
    find = DynamoAttempts.find

    def interrupted(rows: DynamoAttempts, certificate_id: str) -> Any:
        known = find(rows, certificate_id)
        if not made:
            made.append(certificate_id)
            assert deliver(product, event(certificate)) == []
        return known

    monkeypatch.setattr(DynamoAttempts, "find", interrupted)
    assert deliver(product, event(certificate)) == []
    assert len(passed()) == 1


def test_a_lost_message_does_not_block_its_certificate(product: Product, clock: Time) -> None:
    """If the message about an event that passed is lost, an event passes a minute later."""
    certificate = arrive(product.bootstrap("gw-1"))
    assert deliver(product, event(certificate)) == []
    assert len(passed()) == 1
    clock.forward(seconds=59)
    assert deliver(product, event(certificate)) == []
    assert passed() == []
    clock.forward(seconds=1)
    admit(product, certificate)
    assert status(certificate) == "ACTIVE"


def test_a_certificate_that_waits_again_is_admitted_again(product: Product, clock: Time) -> None:
    """An admitted certificate that an operator deletes, so that it registers again, is admitted again."""
    certificate = arrive(product.bootstrap("gw-1"))
    admit(product, certificate)
    # AWS IoT refuses to set the status back (API reference, UpdateCertificate, newStatus).
    iot = boto3.client("iot")
    arn = iot.describe_certificate(certificateId=certificate)["certificateDescription"]["certificateArn"]
    pem = iot.describe_certificate(certificateId=certificate)["certificateDescription"]["certificatePem"]
    iot.detach_policy(policyName="Firstboot-bootstrap", target=arn)
    iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
    iot.delete_certificate(certificateId=certificate)
    iot.register_certificate_without_ca(certificatePem=pem, status="PENDING_ACTIVATION")
    clock.forward(minutes=1)
    admit(product, certificate)
    assert status(certificate) == "ACTIVE"


def test_the_rows_end(product: Product, clock: Time) -> None:
    """A certificate has one row, which DynamoDB may delete a day after the pause."""
    certificate = stuck(product)
    admit(product, certificate)
    clock.forward(minutes=1)
    admit(product, certificate)
    found = row(product, f"{JITR_PREFIX}{certificate}")
    second = int(clock.at.timestamp())
    assert found["attempts"] == {"N": "2"}
    assert found["nextAt"] == {"N": str(second + 120)}
    assert found["expiresAt"] == {"N": str(second + 120 + 86_400)}


def test_an_event_that_passed_before_the_last_decision_takes_no_turn(product: Product, clock: Time) -> None:
    """In a storm an event may wait longer than its pause. The next one that passed takes no turn then."""
    certificate = stuck(product)
    assert deliver(product, event(certificate)) == []
    clock.forward(minutes=1)
    assert deliver(product, event(certificate)) == []
    first, second = passed()
    clock.forward(minutes=1)
    assert deliver(product, first) == []
    taken = slots(product, clock)
    assert taken == pytest.approx(JITR_SHARE, abs=0.02)
    assert deliver(product, second) == []
    assert slots(product, clock) == taken


def test_a_decision_waits_three_seconds_at_most_behind_orders(product: Product, clock: Time) -> None:
    """A decision waits while orders take the slots, and takes the next one after three seconds."""
    certificate = arrive(product.bootstrap("gw-1"))
    assert deliver(product, event(certificate)) == []
    far = int(clock.at.timestamp() * 1_000) + 3_400
    boto3.client("dynamodb").put_item(
        TableName=product.table, Item={"pk": {"S": RATE_LIMITER_KEY}, "next": {"N": str(far)}}
    )
    assert deliver(product, *passed()) == []
    assert clock.waited == pytest.approx(3.4)
    assert status(certificate) == "ACTIVE"
    assert timedelta(seconds=3) == JITR_PATIENCE


def test_first_boots_stay_below_aws_iots_quotas(registering: Registering, clock: Time) -> None:
    """At seven slots a second no mix of first boots exceeds a quota of AWS IoT.

    A first boot over HTTPS takes one slot. One over MQTT takes 1.75, because the bootstrap certificate is
    activated too.
    """
    product = registering.product
    product.lambdas.restart()
    registering.enroll("gw-1")
    # The first certificate makes the policy, with one call more.
    admit(product, arrive(product.bootstrap("gw-0")))
    clock.forward(seconds=9)
    before = slots(product, clock)
    assert registering.work("gw-1") == {"batchItemFailures": []}
    order = Counter(registering.calls.names)
    over_https = slots(product, clock) - before
    certificate = arrive(product.bootstrap("gw-2"))
    before = slots(product, clock)
    with registering.calls.watch():
        admit(product, certificate)
    decision = Counter(registering.calls.names)
    more = slots(product, clock) - before
    assert over_https == pytest.approx(1, abs=0.02)
    assert more == pytest.approx(0.75, abs=0.02)
    assert [order[name] for name in QUOTAS] == [1, 1, 0, 2]
    assert [decision[name] for name in QUOTAS] == [0, 1, 1, 1]
    for orders in (0, 1, 2, 3.5, 4, 5, 6, 7):
        decisions = (RATE - orders) / JITR_SHARE
        for name, quota in QUOTAS.items():
            assert orders * order[name] + decisions * decision[name] <= quota, (name, orders)
