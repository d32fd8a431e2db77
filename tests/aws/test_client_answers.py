"""No answer of AWS that was cut off, or is not AWS's, passes for a success."""

from __future__ import annotations

from binascii import crc32
from collections.abc import Iterator
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import OperationModel

from firstboot.aws import clients
from firstboot.aws.clients import answered
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.aws.sqs.queue import SqsQueue
from firstboot.domain.aws_apis import AwsApi
from firstboot.domain.clock import utc_now
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from tests.aws import deployed
from tests.aws.deployed import ACCOUNT
from tests.aws.wire_answers import CUT, REPLACED, Host, body, head, operations, sample, sized

OPERATIONS = operations()
EVERY = pytest.mark.parametrize(("api", "operation"), OPERATIONS, ids=[each.name for _, each in OPERATIONS])

MAY_BE_EMPTY = {
    "GetItem": "there is no such row",
    "PutItem": "no values were asked for",
    "ReceiveMessage": "no message waits",
    "SendMessageBatch": "the adapter counts the messages that were taken",
    "TransactWriteItems": "no capacity was asked for",
    "UpdateItem": "no values were asked for",
}
"""The operations whose answer may be an empty object, and why."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Yield AWS on a loopback port."""
    with Host().running() as made:
        yield made


@pytest.fixture(autouse=True)
def _clients(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    deployed.prepare(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", host.url)
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    deployed.forget_clients()
    host.requests.clear()
    yield
    deployed.forget_clients()


def call(api: AwsApi, operation: OperationModel) -> Any:
    """Call an operation with as few parameters as it takes."""
    made: Any = {
        AwsApi.DYNAMODB: clients.dynamodb,
        AwsApi.DYNAMODB_STREAMS: clients.dynamodb_streams,
        AwsApi.IOT: clients.iot,
        AwsApi.IOT_DATA: clients.iot_data,
        AwsApi.KMS: clients.kms,
        AwsApi.S3: lambda: clients.s3(ACCOUNT),
        AwsApi.SECRETS_MANAGER: clients.secrets_manager,
        AwsApi.SQS: clients.sqs,
        AwsApi.STS: clients.sts,
    }[api]
    return getattr(made(), xform_name(operation.name))(**sample(operation.input_shape, whole=False))


@EVERY
def test_a_whole_answer_is_a_success(host: Host, api: AwsApi, operation: OperationModel) -> None:
    """The answer that AWS documents for an operation is a success."""
    content = body(operation)
    host.answer = sized(head(operation, content), content)
    with answered():
        call(api, operation)


@pytest.mark.parametrize("damage", CUT)
@EVERY
def test_an_answer_that_is_cut_off_is_unavailable(
    host: Host, damage: str, api: AwsApi, operation: OperationModel
) -> None:
    """An answer of any operation that was cut off is Unavailable, after a second attempt."""
    content = body(operation) or b"{}"
    host.answer = CUT[damage](head(operation, content), content)
    with pytest.raises(Unavailable), answered():
        call(api, operation)
    assert len(host.requests) == 2


@pytest.mark.parametrize("damage", REPLACED)
@EVERY
def test_another_body_is_unavailable(host: Host, damage: str, api: AwsApi, operation: OperationModel) -> None:
    """A success whose body is not the operation's is Unavailable."""
    content = body(operation)
    if _is_right(operation, damage, content):
        pytest.skip("the operation has such answers")
    first = head(operation, content).replace(b'etag: "e"\r\n', b"")
    host.answer = REPLACED[damage](first, content)
    with pytest.raises(Unavailable), answered():
        call(api, operation)


@pytest.mark.parametrize(
    ("api", "operation"),
    [each for each in OPERATIONS if each[0] in (AwsApi.DYNAMODB, AwsApi.DYNAMODB_STREAMS)],
    ids=lambda each: getattr(each, "name", ""),
)
def test_another_checksum_is_unavailable(host: Host, api: AwsApi, operation: OperationModel) -> None:
    """An answer of DynamoDB whose bytes have another checksum than DynamoDB's is Unavailable."""
    content = body(operation)
    host.answer = sized(head(operation, content), content.replace(b"a", b"b").replace(b"1", b"2"))
    assert content not in host.answer
    with pytest.raises(Unavailable), answered():
        call(api, operation)


@pytest.mark.parametrize("said", ["", "none", "0x1f", "1.0", "-1", "\u0661"])
def test_a_checksum_that_is_no_number_is_unavailable(host: Host, said: str) -> None:
    """An answer of DynamoDB whose checksum is no decimal number is Unavailable, and no other error."""
    operation = next(each for api, each in OPERATIONS if api is AwsApi.DYNAMODB and each.name == "GetItem")
    content = body(operation)
    true = str(crc32(content)).encode()
    first = head(operation, content)
    assert b"x-amz-crc32: " + true in first
    host.answer = sized(first.replace(true, said.encode()), content)
    with pytest.raises(Unavailable), answered():
        call(AwsApi.DYNAMODB, operation)


def test_an_answer_without_a_body_needs_no_length(host: Host) -> None:
    """S3's 304 and AWS IoT's 204 have no length, and are answers."""
    host.answer = b"HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n"
    with pytest.raises(ClientError) as caught, answered("304"):
        clients.s3(ACCOUNT).get_object(Bucket="bucket", Key="k", IfNoneMatch="e")
    assert clients.error_code(caught.value) == "304"
    host.answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
    with answered():
        clients.iot().update_certificate(certificateId="a" * 64, newStatus="ACTIVE")


def test_a_batch_that_sqs_says_nothing_of_is_unavailable(host: Host) -> None:
    """Messages of a batch count as sent only if SQS says so of each."""
    host.answer = sized(b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b'{"Failed": []}')
    with pytest.raises(Unavailable):
        SqsQueue(clients.sqs(), "https://sqs.us-east-1.amazonaws.com/1/q").send_all(["a"], 0)


def test_an_update_without_the_values_that_it_asks_for_is_unavailable(host: Host) -> None:
    """A record that an update must return is Unavailable if the answer lacks it."""
    host.answer = sized(b"HTTP/1.1 200 OK\r\nconnection: close\r\n", b"{}")
    with pytest.raises(Unavailable):
        DynamoDevices(clients.dynamodb(), "t").revoke(DeviceId("gw-1"), utc_now())


def _is_right(operation: OperationModel, damage: str, content: bytes) -> bool:
    if operation.service_model.endpoint_prefix == "s3":
        return False  # it has no ETag
    return (damage in ("empty", "half a body") and not content) or (
        damage == "no member" and (operation.name in MAY_BE_EMPTY or not content or b'"state"' in content)
    )
