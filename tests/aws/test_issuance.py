"""Issuance happens exactly once: the order and number of calls, and recovery when one of them fails."""

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
from firstboot.pki import signature
from tests import factories
from tests.aws.deployed import ACCOUNT
from tests.aws.product import Answer, Product

FRESH = ["TransactWriteItems", "Sign", "PutObject"]


class Recorder:
    """A record of every AWS call in order, which can let a call or its answer fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.before: set[str] = set()
        self.after: set[str] = set()
        self.meanwhile: dict[str, Callable[[], object]] = {}
        make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            if client not in (clients.dynamodb(), clients.kms(), clients.s3(ACCOUNT)):
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
        """Return the calls since the last `take`."""
        calls, self.calls = self.calls, []
        return calls


def _failure(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "InternalServerError", "Message": "try again"}}, operation)


@pytest.fixture
def recorder(product: Product, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Return a recorder over a product that has read its fleet.

    The backlog of AWS IoT is patched to 0, because it is not read for every request either.
    """
    monkeypatch.setattr(DynamoRateLimiter, "backlog_seconds", lambda *_: 0)
    product.warm_exchange()
    return Recorder(monkeypatch)


def test_a_fresh_enrollment_makes_three_calls_in_order(product: Product, recorder: Recorder) -> None:
    """A fresh enrollment makes three calls: it claims, signs and stores, in this order."""
    product.enroll(product.bootstrap("gw-1"))
    assert recorder.take() == FRESH


def test_a_finished_repeat_makes_two_calls(product: Product, recorder: Recorder) -> None:
    """The repetition of a finished enrollment makes two calls: a refused claim, and a read of the object."""
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    product.enroll(leaf, key)
    recorder.take()
    product.enroll(leaf, key)
    assert recorder.take() == ["TransactWriteItems", "GetObject"]


@pytest.mark.parametrize("flaw", ["certificate", "csr", "closed"])
def test_nothing_is_called_before_everything_is_verified(
    product: Product, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, flaw: str
) -> None:
    """A request is verified and authorized before any AWS call."""
    leaf = product.bootstrap("gw-1")
    if flaw == "certificate":
        leaf = factories.authority().issue("gw-1", factories.ec_key())
    if flaw == "csr":
        monkeypatch.setattr(signature, "is_valid", lambda *_: False)
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
    """After a failure of any call, or of its answer, the same request gives one certificate."""
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
    """A resumed enrollment signs the recorded claim, in four calls."""
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
    """With a disabled CA key, a request is delayed and later completed, and active devices are unaffected.

    The log has the reason. moto signs with a disabled key, so the test gives the answer that KMS's API
    reference documents.
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


def test_two_concurrent_requests_get_the_same_certificate(product: Product, recorder: Recorder) -> None:
    """Of two concurrent requests, the one that stores second answers with the first one's certificate."""
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    other: list[Answer] = []
    recorder.meanwhile["PutObject"] = lambda: other.append(product.enroll(leaf, key))
    loser = product.enroll(leaf, key)
    assert loser.status == other[0].status == 201
    assert loser.body["certificateId"] == other[0].body["certificateId"]
    assert len(product.objects()) == 1


def test_a_certificate_that_cannot_be_read_is_not_made_again(product: Product, recorder: Recorder) -> None:
    """If the stored certificate cannot be read, the device must repeat its request, and no other is made."""
    recorder.before.add("GetObject")
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    product.enroll(leaf, key)
    assert product.enroll(leaf, key).status == 202


def test_a_conflicting_transaction_is_a_fast_503(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that DynamoDB could not decide writes nothing, and is answered with a 503 to retry."""
    conflict = ClientError({"Error": {"Code": "TransactionCanceledException", "Message": ""}}, "T")
    conflict.response["CancellationReasons"] = [{"Code": "TransactionConflict"}, {"Code": "None"}]

    def refuse(**_: object) -> None:
        raise conflict

    monkeypatch.setattr(clients.dynamodb(), "transact_write_items", refuse)
    answer = product.enroll(product.bootstrap("gw-1"))
    assert (answer.status, answer.body["code"], answer.body["action"]) == (503, "unavailable", "retry")
    assert boto3.client("s3").list_objects_v2(Bucket=product.bucket, Prefix="certificates/")["KeyCount"] == 0
