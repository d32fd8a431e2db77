"""Exactly once: order, number of calls, and what is left when each of them fails."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError

from firstboot.aws import clients
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.aws.s3.fleet import FleetSource
from firstboot.domain.clock import EPOCH
from firstboot.pki import csr
from tests import factories
from tests.aws.product import Answer, Product

FRESH = ["TransactWriteItems", "Sign", "PutObject"]


class Recorder:
    """Every AWS call in order; can let one fail, before it is made or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.before: set[str] = set()
        self.after: set[str] = set()
        self.meanwhile: dict[str, Callable[[], object]] = {}
        make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            if client not in (clients.dynamodb(), clients.kms(), clients.s3()):
                return make(client, operation, parameters)
            self.calls.append(operation)
            self.meanwhile.pop(operation, lambda: None)()
            if operation in self.before:
                raise _failure(operation)
            answer = make(client, operation, parameters)
            if operation in self.after:
                raise _failure(operation)
            return answer

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)

    def take(self) -> list[str]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls


def _failure(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow down"}}, operation)


@pytest.fixture
def recorder(product: Product, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """A recorder over a product that has read its fleet, and AWS IoT's backlog, which it does not read
    for every request either.
    """
    monkeypatch.setattr(DynamoRateLimiter, "backlog_seconds", lambda *_: 0)
    product.warm_exchange()
    return Recorder(monkeypatch)


def test_a_fresh_enrollment_makes_three_calls_in_order(product: Product, recorder: Recorder) -> None:
    """Claim, sign, store: in that order, and nothing else."""
    product.enroll(product.bootstrap("gw-1"))
    assert recorder.take() == FRESH


def test_a_finished_repeat_makes_two_calls(product: Product, recorder: Recorder) -> None:
    """The refused claim brings the row, the row names the object."""
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    product.enroll(leaf, key)
    recorder.take()
    product.enroll(leaf, key)
    assert recorder.take() == ["TransactWriteItems", "GetObject"]


@pytest.mark.parametrize("flaw", ["certificate", "csr", "closed"])
def test_nothing_is_called_before_everything_is_verified(
    product: Product, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, flaw: str
) -> None:
    """Verify, authorise, and only then claim: a bad request costs no AWS call."""
    leaf = product.bootstrap("gw-1")
    if flaw == "certificate":
        leaf = factories.authority().issue("gw-1", factories.ec_key())
    if flaw == "csr":
        monkeypatch.setattr(csr, "_signature_is_valid", lambda _: False)
    if flaw == "closed":
        past = product.fleet.groups["gateways"].budget
        object.__setattr__(past, "until", EPOCH)
        monkeypatch.setattr(FleetSource, "current", lambda *_: product.fleet)
    assert product.enroll(leaf).status in (400, 401, 403)
    assert recorder.take() == []


@pytest.mark.parametrize("lost", [False, True], ids=["fails", "reply-lost"])
@pytest.mark.parametrize("operation", FRESH)
def test_a_failure_anywhere_leaves_only_what_the_next_attempt_uses(
    product: Product, recorder: Recorder, operation: str, *, lost: bool
) -> None:
    """Whichever call fails, or succeeds unheard: the same request again gives one certificate."""
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    (recorder.after if lost else recorder.before).add(operation)
    first = product.enroll(leaf, key)
    assert first.status == (503 if operation == "TransactWriteItems" else 202)
    assert int(first.headers["retry-after"]) == first.body["retryAfter"]
    assert "certificateUrl" not in first.body
    recorder.after.clear()
    recorder.before.clear()
    again = product.enroll(leaf, key)
    assert again.status == 201
    assert len(product.objects()) == 1
    assert product.certificate(again).public_key() == key.public_key()


def test_a_resumed_enrollment_certifies_the_recorded_intent(product: Product, recorder: Recorder) -> None:
    """What the first attempt recorded is what the second signs, in four calls."""
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    recorder.before.add("Sign")
    product.enroll(leaf, key)
    (row,) = [row for row in product.rows() if row["pk"]["S"] == "DEV#gw-1"]
    recorder.before.clear()
    recorder.take()
    answer = product.enroll(leaf, key)
    assert recorder.take() == ["TransactWriteItems", "GetObject", "Sign", "PutObject"]
    assert answer.body["serial"] == row["pending"]["M"]["serial"]["S"]


def test_a_disabled_ca_key_delays_and_loses_nothing(
    product: Product, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asks is told to come again, the log says why; who has an identity does not notice. Enabled
    again, the key signs what was recorded. (moto signs with a disabled key: the answer is KMS's, by its
    API reference.)
    """
    active = product.identity("gw-0")
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    error = SimpleNamespace(status_code=400), {"Error": {"Code": "DisabledException"}}
    disabled: Any = lambda **_: error  # noqa: E731
    events = clients.kms().meta.events
    events.register("before-call.kms.Sign", disabled)
    assert product.enroll(leaf, key).status == 202
    (logged,) = [record for record in caplog.records if record.message == "certificate delayed"]
    assert vars(logged)["reason"] == "Sign: DisabledException"
    assert product.call("GET", "/v1/device", active).status == 200
    events.unregister("before-call.kms.Sign", disabled)
    assert product.enroll(leaf, key).status == 201


def test_of_two_racers_both_get_the_one_that_was_stored(product: Product, recorder: Recorder) -> None:
    """The loser of the put answers with the winner's certificate."""
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    other: list[Answer] = []
    recorder.meanwhile["PutObject"] = lambda: other.append(product.enroll(leaf, key))
    loser = product.enroll(leaf, key)
    assert loser.status == other[0].status == 201
    assert loser.body["certificateId"] == other[0].body["certificateId"]
    assert len(product.objects()) == 1


def test_a_certificate_that_vanished_is_not_made_again_unseen(product: Product, recorder: Recorder) -> None:
    """Stored by another, gone when read: the device is told to come back, nothing is invented."""
    recorder.before.add("GetObject")
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    product.enroll(leaf, key)
    assert product.enroll(leaf, key).status == 202


def test_a_conflicting_transaction_is_a_fast_503(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """DynamoDB could not decide: nothing is written, the device tries again."""
    conflict = ClientError({"Error": {"Code": "TransactionCanceledException", "Message": ""}}, "T")
    conflict.response["CancellationReasons"] = [{"Code": "TransactionConflict"}, {"Code": "None"}]

    def refuse(**_: object) -> None:
        raise conflict

    monkeypatch.setattr(clients.dynamodb(), "transact_write_items", refuse)
    answer = product.enroll(product.bootstrap("gw-1"))
    assert (answer.status, answer.body["code"], answer.body["action"]) == (503, "unavailable", "retry")
    assert boto3.client("s3").list_objects_v2(Bucket=product.bucket, Prefix="certificates/")["KeyCount"] == 0
