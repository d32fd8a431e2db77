"""No answer of AWS that was cut off, or is not AWS's, passes for a success."""

from __future__ import annotations

import json
from binascii import crc32
from collections.abc import Iterator
from contextlib import nullcontext
from io import BytesIO
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import OperationModel
from botocore.parsers import create_parser
from botocore.response import StreamingBody
from botocore.utils import parse_timestamp
from urllib3 import HTTPHeaderDict

from firstboot.aws import answers, clients
from firstboot.aws.answers import WholeAnswers
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
    monkeypatch.setattr("firstboot.aws.client.sleep", lambda _: None)
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


def _parsed(parser: Any, content: bytes, operation: OperationModel, status: int = 200) -> Any:
    headers = HTTPHeaderDict({"ETag": "e", "x-amzn-RequestId": "r", "x-amz-version-id": "v"})
    context = {"operation_name": operation.name}
    is_stream = operation.has_streaming_output and status == 200
    whole: Any = StreamingBody(BytesIO(content), len(content)) if is_stream else content
    raw = {"status_code": status, "headers": headers, "body": whole, "context": context}
    members = parser.parse(raw, operation.output_shape)
    return {name: each.read() if hasattr(each, "read") else each for name, each in members.items()}


JSON_ERROR = b'{"__type": "x#Throttling", "message": "m", "Item": {"a": {"B": "AAAA"}}}'


@EVERY
def test_an_answer_is_read_as_botocore_reads_it(api: AwsApi, operation: OperationModel) -> None:
    """The members of an answer, and of an error, are those that botocore's own parser finds."""
    del api
    protocol = operation.service_model.resolved_protocol
    extended = body(operation).replace(b"{", b'{"unknown": {"a": [null]}, "__type": null, ', 1)
    is_json = protocol in ("json", "rest-json")
    error = JSON_ERROR if is_json else b"<E><Error><Code>Denied</Code><Message>m</Message></Error></E>"
    for status, content in ((200, body(operation)), (200, extended), (400, error), (503, b"<html></html>")):
        theirs = _parsed(create_parser(protocol), content, operation, status)
        assert _parsed(WholeAnswers(protocol), content, operation, status) == theirs


VALUES: dict[str, Any] = {
    "S": "a",
    "N": "1",
    "B": "AAAA",
    "SS": ["a"],
    "NS": ["1"],
    "BS": ["AAAA", "YQ=="],
    "M": {"b": {"B": "YQ=="}, "m": {"M": {"l": {"L": [{"BOOL": False}, {"B": "YQ=="}]}}}},
    "L": [{"S": ""}, {"L": []}],
    "NULL": True,
    "BOOL": True,
}


def test_every_value_of_dynamodb_is_read_as_botocore_reads_it() -> None:
    """A record with each type of value, also within others, is the one that botocore's own parser finds."""
    (get,) = [each for _, each in OPERATIONS if each.name == "GetItem"]
    content = json.dumps({"Item": {name: {name: value} for name, value in VALUES.items()}}).encode()
    found = _parsed(WholeAnswers("json"), content, get)
    assert found == _parsed(create_parser("json"), content, get)
    assert found["Item"]["BS"] == {"BS": [b"\0\0\0", b"a"]}


@pytest.mark.parametrize(
    "text",
    ["2027-01-15T08:00:00Z", "2027-01-15T08:00:00.123Z", "2027-01-15T08:00:00+00:00", "1800000000", 1.5, 0],
)
def test_a_time_is_read_as_botocore_reads_it(text: Any) -> None:
    """Each form of a time in AWS's answers is the moment that botocore reads."""
    assert answers._timestamp(text) == parse_timestamp(text)
    assert answers._timestamp(text).utcoffset() is not None


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


@pytest.mark.parametrize(
    ("checksum", "is_whole"), [("AAAAAA==", False), ("sQIYyg==", True), ("AAAAAA==-2", True), (None, True)]
)
def test_an_object_has_the_checksum_of_its_upload(
    host: Host, checksum: str | None, *, is_whole: bool
) -> None:
    """An object whose bytes have another checksum than S3 keeps of its upload is Unavailable."""
    kept = f"x-amz-checksum-crc32: {checksum}\r\n" if checksum else ""
    host.answer = sized(f'HTTP/1.1 200 OK\r\netag: "e"\r\nconnection: close\r\n{kept}'.encode(), b"chain")
    with nullcontext() if is_whole else pytest.raises(Unavailable), answered():
        clients.s3(ACCOUNT).get_object(Bucket="bucket", Key="k")


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
