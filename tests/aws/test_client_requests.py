"""The product's client asks AWS as botocore's own client does: hosts, requests, signatures and attempts."""

from __future__ import annotations

import base64
import html
import subprocess
import sys
import zlib
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError
from botocore.model import OperationModel
from botocore.session import Session, get_session

from firstboot.aws import clients, local_host, requests
from firstboot.aws.answers import UnreadableAnswer
from firstboot.aws.client import Client
from firstboot.domain.aws_apis import AwsApi
from infra.bundling import FUNCTIONS
from tests.aws import deployed
from tests.aws.deployed import ACCOUNT
from tests.aws.test_client_answers import OPERATIONS
from tests.aws.wire_answers import sample

CONFIG = Config(
    signature_version="v4", s3={"us_east_1_regional_endpoint": "regional", "addressing_style": "virtual"}
)
PARTITIONS = ["aws", "aws-cn", "aws-us-gov"]
NOW = datetime(2026, 11, 28, 3)  # noqa: DTZ001 - as botocore's signers have it


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    deployed.prepare(monkeypatch)
    deployed.forget_clients()
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: NOW)
    # awscrt, which the asset lacks, would sign with a clock of its own.
    signers = {"v4": SigV4Auth, "s3v4": S3SigV4Auth, "s3v4-query": S3SigV4QueryAuth}
    for name, signer in signers.items():
        monkeypatch.setitem(botocore.auth.AUTH_TYPE_MAPS, name, signer)
    yield
    deployed.forget_clients()


class Sent(Exception):
    """A request that was about to be sent."""

    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__(request.url)
        self.request = request


def stop(*_: Any, request: AWSPreparedRequest, **__: Any) -> None:
    """Stop a request before it is sent."""
    raise Sent(request)


@cache
def _session() -> Session:
    made = get_session()
    made.set_config_variable("sts_regional_endpoints", "regional")
    return made


@cache
def whole(api: AwsApi, region: str) -> Any:
    """Return botocore's own client."""
    config = CONFIG.merge(Config(signature_version="s3v4")) if api is AwsApi.S3 else CONFIG
    made = _session().create_client(api.value, region, config=config)
    made.meta.events.register_first("before-send", stop)
    return made


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("api", AwsApi)
def test_each_host_is_that_of_botocore(api: AwsApi, partition: str) -> None:
    """In each region of the three partitions an API's host is the one that botocore's rules find."""
    regions = _session().get_available_regions(api.value, partition)
    assert regions
    for region in regions:
        assert f"https://{requests.host(api, region)}" == whole(api, region).meta.endpoint_url, region


def sent(client: Any, method: str, params: dict[str, Any]) -> AWSPreparedRequest:
    """Return the request that a client is about to send for a call."""
    with pytest.raises(Sent) as caught:
        getattr(client, method)(**params)
    return caught.value.request


def own(api: AwsApi) -> Any:
    """Return the product's client."""
    made: Any = Client(api)
    made.meta.events.register_first("before-send", stop)
    return made


IN_PATH = [
    (api, operation, name)
    for api, operation in OPERATIONS
    for name, member in (operation.input_shape.members if operation.input_shape else {}).items()
    if member.serialization.get("location") == "uri"
]


@pytest.mark.parametrize(
    ("api", "operation", "name"), IN_PATH, ids=[f"{each.name}-{name}" for _, each, name in IN_PATH]
)
def test_a_path_has_all_of_its_parts(api: AwsApi, operation: OperationModel, name: str) -> None:
    """A call with an empty or a missing part of its path is not sent, because it would be another call."""
    whole_call = sample(operation.input_shape, whole=True)
    without = {key: value for key, value in whole_call.items() if key != name}
    made = Client(api).requests
    assert made.serialize(operation, whole_call)
    for params in (without, without | {name: ""}):
        with pytest.raises(ParamValidationError, match=name):
            made.serialize(operation, params)


# Two attempts differ in these, and a signature leaves them out. `Expect` would cost S3 a round trip.
UNSIGNED = {"user-agent", "amz-sdk-invocation-id", "amz-sdk-request", "expect"}


def _comparable(request: AWSPreparedRequest) -> tuple[Any, ...]:
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    signed = {name: text for name, text in headers.items() if name not in UNSIGNED}
    # The HTTP library adds it to the request of botocore, whose signature has it too.
    assert signed.pop("host", urlsplit(request.url).netloc) == urlsplit(request.url).netloc
    body: Any = request.body
    body = body.read() if hasattr(body, "read") else body
    return request.method, request.url, signed, _text(body or "")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _with_text(value: Any, text: str) -> Any:
    """Return a sample whose free texts begin with `text`."""
    if isinstance(value, dict):
        return {name: _with_text(each, text) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_text(each, text) for each in value]
    return text.ljust(len(value), "a") if isinstance(value, str) and set(value) == {"a"} else value


def _params(api: AwsApi, operation: Any, text: str, bucket: str) -> dict[str, Any]:
    params: dict[str, Any] = _with_text(sample(operation.input_shape, whole=False), text)
    params |= dict.fromkeys(operation.idempotent_members, "a" * 20)
    if api is AwsApi.S3:
        params |= {"Bucket": bucket, "ExpectedBucketOwner": ACCOUNT}
    if operation.name == "PutObject":
        params |= {"Body": CHAIN, "IfNoneMatch": "*"}
    if operation.name.startswith("ListObject"):
        # botocore asks for encoded keys. The product's keys need no encoding.
        params["EncodingType"] = "url"
    return params


CHAIN = b"chain"


@pytest.mark.parametrize("region", ["us-east-1", "cn-north-1", "us-gov-west-1"])
@pytest.mark.parametrize(
    ("api", "operation"), OPERATIONS, ids=[operation.name for _, operation in OPERATIONS]
)
def test_each_request_is_that_of_botocore(
    api: AwsApi, operation: Any, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each operation of the product, botocore's own client would send the same, and sign it so."""
    monkeypatch.setenv("AWS_REGION", region)
    method = botocore.xform_name(operation.name)
    for text in ("a", "gw-1:a/b c&d+e%f~*"):
        for bucket in ("bucket", "dotted.bucket") if api is AwsApi.S3 else ("",):
            params = _params(api, operation, text, bucket)
            ours = _comparable(sent(own(api), method, params))
            if operation.name == "PutObject":
                # botocore would send it after the body, which needs a body in chunks.
                params["ChecksumCRC32"] = base64.b64encode(zlib.crc32(CHAIN).to_bytes(4, "big")).decode()
            assert "authorization" in ours[2]
            assert ours == _comparable(sent(whole(api, region), method, params))


@pytest.mark.parametrize("key", ["certificates/gw-1/ab.pem", "certificates/a:b/ab.pem"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"])
def test_a_presigned_url_is_that_of_botocore(key: str, region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A presigned URL, its signature included, is the one that botocore's own client makes."""
    monkeypatch.setenv("AWS_REGION", region)
    params = {"Bucket": "bucket", "Key": key}
    ours = clients.s3(ACCOUNT).generate_presigned_url("get_object", Params=params, ExpiresIn=300)
    theirs = whole(AwsApi.S3, region).generate_presigned_url("get_object", Params=params, ExpiresIn=300)
    assert ours == theirs
    assert "owner" not in ours


@pytest.mark.parametrize("name", ["list_objects_v2", "list_object_versions"])
def test_keys_are_read_as_they_are(name: str) -> None:
    """A listing's keys with characters of URLs and of XML are those of the bucket."""
    keys = ["a:b+c d", "a%20b", "a&b<c>'\"", "ä"]
    entries = "".join(f"<{{0}}><Key>{html.escape(key)}</Key></{{0}}>" for key in keys)
    tag, member = ("Contents", "Contents") if name == "list_objects_v2" else ("Version", "Versions")
    body = f"<R><IsTruncated>false</IsTruncated>{entries.format(tag)}</R>".encode()
    client: Any = Client(AwsApi.S3)
    client.meta.events.register_first("before-send", lambda request, **_: _answer(request, 200, body))
    listed = getattr(client, name)(Bucket="bucket")
    assert [each["Key"] for each in listed[member]] == keys


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body


def _answer(request: AWSPreparedRequest, status: int, body: bytes) -> AWSResponse:
    headers: Any = {}
    return AWSResponse(request.url, status, headers, _Raw(body))


THROTTLED = b'{"__type": "x#ThrottlingException", "message": "m"}'
DENIED = b'{"__type": "x#AccessDeniedException", "message": "m"}'
IN_PROGRESS = b'{"__type": "x#TransactionInProgressException", "message": "m"}'


@pytest.mark.parametrize(
    ("status", "body", "attempts"),
    [
        (400, THROTTLED, 2),
        (400, IN_PROGRESS, 2),
        (500, b"", 2),
        (503, b"<html></html>", 2),
        (200, b"", 2),
        (400, DENIED, 1),
    ],
)
def test_a_call_is_tried_again_where_it_may_help(
    status: int, body: bytes, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A throttled, failed or unreadable call is tried once more, with the same id and token."""
    made: list[AWSPreparedRequest] = []

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        made.append(request)
        return _answer(request, status, body)

    monkeypatch.setattr("firstboot.aws.client.sleep", lambda _: None)
    client: Any = Client(AwsApi.DYNAMODB)
    client.meta.events.register_first("before-send", answer)
    delete = {"TableName": "table", "Key": {"pk": {"S": "k"}}}
    with pytest.raises((ClientError, UnreadableAnswer)):
        client.transact_write_items(TransactItems=[{"Delete": delete}])
    assert [each.headers["amz-sdk-request"] for each in made] == [
        f"attempt={number}; max=2" for number in range(1, attempts + 1)
    ]
    assert len({each.headers["amz-sdk-invocation-id"] for each in made}) == 1
    assert len({each.body for each in made}) == 1


def test_credentials_of_a_local_host_are_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key in the environment, each request has the credentials that botocore has at that time."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    given = iter(["first", "second"])

    class Source:
        def get_frozen_credentials(self) -> requests.Keys:
            return requests.Keys(next(given), "secret", "token")

    monkeypatch.setattr(local_host, "source", cache(Source))
    assert [requests.keys().access_key for _ in range(2)] == ["first", "second"]


def test_botocore_s_own_client_is_not_imported() -> None:
    """The product's clients import neither boto3 nor botocore's own client."""
    program = (
        "import sys, firstboot.aws.clients;"
        "print([name for name in ('boto3', 'botocore.client', 'botocore.session', 'botocore.paginate',"
        " 'botocore.credentials') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(FUNCTIONS)}, check=True, capture_output=True
    )
    assert done.stdout.decode().strip() == "[]"
