"""A function whose credentials a local host gives out (SnapStart) answers 503 while that host fails."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from firstboot.aws import clients, local_host, requests
from firstboot.aws.clients import answered
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.domain.clock import utc_now
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from tests import factories
from tests.aws import deployed
from tests.aws.deployed import ACCOUNT
from tests.aws.product import Product
from tests.aws.wire_answers import Host, sized

OK = b"HTTP/1.1 200 OK\r\n"
URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
SECRET = "secret-of-the-host"


def body(minutes: int = 360, without: str = "", **changes: Any) -> bytes:
    """Return the credentials that a local host gives out, with changes, and without one member."""
    end = utc_now() + timedelta(minutes=minutes)
    members = {
        "AccessKeyId": "AKIALOCAL",
        "SecretAccessKey": SECRET,
        "Token": "token",
        "Expiration": f"{end:%Y-%m-%dT%H:%M:%SZ}",
    }
    return json.dumps(
        {name: value for name, value in (members | changes).items() if name != without}
    ).encode()


def good(**changes: Any) -> bytes:
    """Return the answer of a local host that works."""
    return sized(OK, body(**changes))


FAILURES: dict[str, bytes] = {
    "ended": good(minutes=-1),
    "without AccessKeyId": good(without="AccessKeyId"),
    "without SecretAccessKey": good(without="SecretAccessKey"),
    "without Token": good(without="Token"),
    "without Expiration": good(without="Expiration"),
    "AccessKeyId is a number": good(AccessKeyId=5),
    "AccessKeyId is empty": good(AccessKeyId=""),
    "SecretAccessKey is null": good(SecretAccessKey=None),
    "SecretAccessKey is no Unicode": good(SecretAccessKey="\ud800"),
    "Token ends a header": good(Token="token\r\nx: y"),
    "Expiration is no time": good(Expiration="soon"),
    "Expiration has no zone": good(Expiration="2099-01-01T00:00:00"),
    "Expiration is a number": good(Expiration=4070908800),
    "Expiration is too late": good(Expiration="9" * 30),
    "no JSON": sized(OK, b"<html>"),
    "a list": sized(OK, b"[]"),
    "null": sized(OK, b"null"),
    "too deep": sized(OK, b"[" * 100_000),
    "no UTF-8": sized(OK, b'{"SecretAccessKey": "' + SECRET.encode() + b'\xff"}'),
    "empty": sized(OK, b""),
    "500": sized(b"HTTP/1.1 500 Internal Server Error\r\n", body()),
    "201": sized(b"HTTP/1.1 201 Created\r\n", body()),
    "302": sized(b"HTTP/1.1 302 Found\r\nlocation: /\r\n", body()),
    "closed": b"",
    "cut off": OK + b"content-length: 5000\r\n\r\n" + body(),
    "no HTTP": b"220 mail\r\n\r\n",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    deployed.prepare(monkeypatch)
    deployed.forget_clients()
    yield
    deployed.forget_clients()


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts this process into an environment whose credentials a local host has."""

    def restore(url: str) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(URI, f"{url}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a token")

    return restore


@pytest.fixture
def host(restored: Callable[[str], None]) -> Iterator[Host]:
    """Yield the local host of this process's credentials, which works unless a test says otherwise."""
    with Host().running() as made:
        made.answer = good()
        restored(made.url)
        yield made


def ask() -> None:
    """Make a call to AWS as the adapters do. It is signed before anything is sent."""
    with answered():
        clients.dynamodb().get_item(TableName="table", Key={"pk": {"S": "k"}})


@pytest.mark.parametrize("is_warm", [False, True], ids=["first", "refresh"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_host_is_unavailable(
    host: Host, caplog: pytest.LogCaptureFixture, failure: str, *, is_warm: bool
) -> None:
    """A call without credentials is Unavailable, and the next call uses what the host then gives out.

    No log has a part of the credentials.
    """
    caplog.set_level(logging.WARNING)
    if is_warm:
        # botocore must fetch new credentials in the last ten minutes.
        host.answer = good(minutes=5)
        assert requests.keys().access_key == "AKIALOCAL"
    host.answer = FAILURES[failure]
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            ask()
        assert caught.value.log == "CredentialRetrievalError"
    host.answer = good(AccessKeyId="AKIANEXT")
    assert requests.keys().access_key == "AKIANEXT"
    assert SECRET not in caplog.text


def test_a_silent_host_is_asked_twice(
    restored: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that says nothing ends the wait for credentials after two attempts."""
    monkeypatch.setattr(local_host.Fetcher, "TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        restored(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unavailable):
            ask()
        silent.settimeout(0)
        for _ in range(local_host.Fetcher.RETRY_ATTEMPTS):
            silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_the_wait_ends_before_every_function_does() -> None:
    """The attempts have no pause, and end before the shortest time-out of a function, 4 s in `assign`."""
    assert local_host.Fetcher.SLEEP_TIME == 0
    connect_and_read = 2 * local_host.Fetcher.TIMEOUT_SECONDS
    assert local_host.Fetcher.RETRY_ATTEMPTS * connect_and_read <= 4


def test_nothing_listens(restored: Callable[[str], None]) -> None:
    """A connection that the machine refuses is Unavailable."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    restored(f"http://127.0.0.1:{port}")
    with pytest.raises(Unavailable):
        ask()


def test_another_machine_is_not_asked(restored: Callable[[str], None]) -> None:
    """The token is sent to no other machine without TLS."""
    restored("http://192.0.2.1")
    with pytest.raises(Unavailable):
        ask()


def test_a_lost_token_file(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token's file that can't be read is Unavailable."""
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(Unavailable):
        ask()
    assert host.requests == []


def test_the_host_may_be_named_later(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without credentials is Unavailable until its environment names a host."""
    url = host.url
    monkeypatch.delenv(URI)
    with pytest.raises(Unavailable) as caught:
        ask()
    assert caught.value.log == "NoCredentialsError"
    monkeypatch.setenv(URI, url)
    assert requests.keys().access_key == "AKIALOCAL"


def test_a_presigned_url_needs_credentials(host: Host) -> None:
    """A presigned URL that can't be signed is Unavailable, although no call is made for it."""
    host.answer = FAILURES["ended"]
    store = S3CertificateStore(clients.s3(ACCOUNT), "bucket")
    with pytest.raises(Unavailable):
        store.url(DeviceId("gw-1"), "ab", 300)


@pytest.mark.parametrize("failure", ["ended", "closed", "without Token"])
def test_a_device_is_told_to_repeat(product: Product, restored: Callable[[str], None], failure: str) -> None:
    """A device gets 503 with a time for the next attempt, for its certificate and for its credentials."""
    bootstrap, leaf = product.bootstrap("gw-2"), product.identity("gw-1")
    assert product.call("GET", "/v1/device", leaf).status == 200
    with Host().running() as host:
        host.answer = FAILURES[failure]
        restored(host.url)
        for answer in (
            product.enroll(bootstrap, factories.ec_key()),
            product.call("GET", "/v1/device", leaf),
        ):
            assert (answer.status, answer.body["code"], answer.body["action"]) == (
                503,
                "unavailable",
                "retry",
            )
            assert int(answer.headers["retry-after"]) >= 1
        vended = product.call("GET", "/role-aliases/telemetry/credentials", leaf)
        assert vended.status == 503
        host.answer = good()
        assert requests.keys().access_key == "AKIALOCAL"
