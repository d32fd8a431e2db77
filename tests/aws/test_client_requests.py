"""The product's client asks AWS as botocore's own client does: hosts, requests, signatures and attempts."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session, get_session

from firstboot.aws import clients, requests
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
ID = uuid.UUID(int=7)
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


class Sent(Exception):  # noqa: N818 - it is no error
    """A request that was about to be sent."""

    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__(request.url)
        self.request = request


def stop(*_: Any, request: AWSPreparedRequest, **__: Any) -> None:
    """Stop a request before it is sent."""
    raise Sent(request)


def whole(api: AwsApi, session: Session | None = None) -> Any:
    """Return botocore's own client."""
    made = session or get_session()
    made.set_config_variable("sts_regional_endpoints", "regional")
    config = CONFIG.merge(Config(signature_version="s3v4")) if api is AwsApi.S3 else CONFIG
    return made.create_client(api.value, config=config)


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("api", AwsApi)
def test_each_host_is_that_of_botocore(api: AwsApi, partition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each region of the three partitions an API's host is the one that botocore's rules find."""
    session = get_session()
    regions = session.get_available_regions(api.value, partition) or session.get_available_regions(
        "dynamodb", partition
    )
    assert regions
    for region in regions:
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        assert f"https://{requests.host(api, region)}" == whole(api).meta.endpoint_url, region


def sent(client: Any, method: str, params: dict[str, Any]) -> AWSPreparedRequest:
    """Return the request that a client is about to send for a call."""
    client.meta.events.register_first("before-send", stop)
    with pytest.raises(Sent) as caught:
        getattr(client, method)(**params)
    return caught.value.request


def _comparable(request: AWSPreparedRequest) -> tuple[Any, ...]:
    # Each of these differs from one call to the next, or from one client to the other by intention.
    own = {"user-agent", "amz-sdk-invocation-id", "amz-sdk-request", "authorization", "x-amz-content-sha256"}
    own |= {"host", "content-length"}
    texts = {name: _text(value) for name, value in request.headers.items()}
    headers = {name.lower(): text for name, text in texts.items() if name.lower() not in own}
    return request.method, request.url, headers, _text(request.body or "")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize("bucket", ["bucket", "dotted.bucket"])
@pytest.mark.parametrize(
    ("api", "operation"), OPERATIONS, ids=[operation.name for _, operation in OPERATIONS]
)
def test_each_request_is_that_of_botocore(api: AwsApi, operation: Any, bucket: str) -> None:
    """For each operation of the product, method, URL, headers and body are those of botocore's own client."""
    if bucket != "bucket" and api is not AwsApi.S3:
        pytest.skip("only S3 has buckets")
    params = sample(operation.input_shape, whole=False)
    if api is AwsApi.S3:
        params |= {"Bucket": bucket, "ExpectedBucketOwner": ACCOUNT}
        params |= {"Body": b"chain", "IfNoneMatch": "*"} if operation.name == "PutObject" else {}
    for member in operation.idempotent_members:
        params[member] = "a" * 20
    method = botocore.xform_name(operation.name)
    own = Client(api)
    assert _comparable(sent(own, method, params)) == _comparable(sent(whole(api), method, params))


@pytest.mark.parametrize("key", ["certificates/gw-1/ab.pem", "certificates/a:b/ab.pem"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"])
def test_a_presigned_url_is_that_of_botocore(key: str, region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A presigned URL, its signature included, is the one that botocore's own client makes."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.setenv("AWS_REGION", region)
    params = {"Bucket": "bucket", "Key": key}
    ours = clients.s3(ACCOUNT).generate_presigned_url("get_object", Params=params, ExpiresIn=300)
    assert ours == whole(AwsApi.S3).generate_presigned_url("get_object", Params=params, ExpiresIn=300)
    assert "owner" not in ours


@pytest.mark.parametrize(
    ("api", "operation"), OPERATIONS, ids=[operation.name for _, operation in OPERATIONS]
)
def test_a_signature_is_that_of_botocore(
    api: AwsApi, operation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same payload and ids, a request's signature is the one that botocore's own client makes."""
    monkeypatch.setattr(uuid, "uuid4", lambda: ID)
    monkeypatch.setattr("firstboot.aws.client.uuid4", lambda: ID)
    monkeypatch.setattr(S3SigV4Auth, "_should_sha256_sign_payload", lambda *_: True)
    params = sample(operation.input_shape, whole=False)
    if api is AwsApi.S3:
        params |= {"Bucket": "bucket", "ExpectedBucketOwner": ACCOUNT}
        params |= {"Body": b"chain", "IfNoneMatch": "*"} if operation.name == "PutObject" else {}
    method = botocore.xform_name(operation.name)
    found = [_text(sent(each, method, params).headers["Authorization"]) for each in (Client(api), whole(api))]
    assert found[0] == found[1]


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._body


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
        return AWSResponse(request.url, status, {}, _Raw(body))

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
    """Without a key in the environment, each request has the credentials that botocore's source gives then."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    given = iter(["first", "second"])

    class Source:
        def get_frozen_credentials(self) -> requests.Keys:
            return requests.Keys(next(given), "secret", None)

    monkeypatch.setattr(requests, "_other_credentials", Source)
    assert [requests.keys().access_key for _ in range(2)] == ["first", "second"]


def test_botocore_s_own_client_is_not_imported() -> None:
    """The product's clients import neither boto3 nor botocore's own client."""
    program = (
        "import sys, firstboot.aws.clients;"
        "print([name for name in ('boto3', 'botocore.client', 'botocore.session', 'botocore.paginate',"
        " 'botocore.credentials') if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], env={"PYTHONPATH": str(FUNCTIONS)}, check=True, capture_output=True
    )
    assert done.stdout.decode().strip() == "[]"
