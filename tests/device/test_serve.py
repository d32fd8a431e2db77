"""Test the endpoint from which programs on the device get credentials, with real sockets and boto3."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest

from device import serve
from device.credentials import Cache
from device.refusal import Action, Refused
from tests.device.service import CREDENTIALS, Service, problem
from tests.device.test_cli import boot

PATH = "/role-aliases/telemetry/credentials"
MADE = {
    "Version": 1,
    "AccessKeyId": "id",
    "SecretAccessKey": "secret",
    "SessionToken": "session",
    "Expiration": "2099-01-01T00:00:00Z",
}


class Endpoint:
    """A running endpoint in front of a service that answers with `answer`, credentials or a Refused."""

    def __init__(self, folder: Path) -> None:
        self.answer: Any = MADE
        self.requests = 0
        self.token_file = folder / "token"
        self.server: serve.Server

    def fetch(self) -> Any:
        """Answer as the service."""
        self.requests += 1
        if isinstance(self.answer, Refused):
            raise self.answer
        return self.answer

    @property
    def token(self) -> str:
        """Return the token in the file."""
        return self.token_file.read_text()

    def get(self, path: str = PATH, method: str = "GET", **headers: str) -> tuple[int, Any]:
        """Make a request and return the answer's status and members."""
        connection = http.client.HTTPConnection(serve.ADDRESS, self.server.server_port, timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if answer.status not in (501, 414) else None


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    """Run an endpoint with one role alias."""
    running = Endpoint(tmp_path)
    with serve.serving(0, {"telemetry": Cache(running.fetch)}, running.token_file) as server:
        running.server = server
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield running
        server.shutdown()
        thread.join()


def test_credentials_have_the_shape_of_the_container_endpoint(endpoint: Endpoint) -> None:
    """The endpoint gives its members under the names that SDKs read."""
    assert endpoint.get(Authorization=endpoint.token) == (
        200,
        {
            "AccessKeyId": "id",
            "SecretAccessKey": "secret",
            "Token": "session",
            "Expiration": MADE["Expiration"],
        },
    )


@pytest.mark.parametrize("shown", [None, "", "x", "Bearer {}", "{}x", "\xe4"])
def test_without_the_token_there_are_no_credentials(endpoint: Endpoint, shown: str | None) -> None:
    """A program without the token of the file gets 401, and causes no request to the service."""
    headers = {} if shown is None else {"Authorization": shown.format(endpoint.token)}
    status, members = endpoint.get(**headers)
    assert (status, members["message"]) == (401, "the token is not that of the file")
    assert endpoint.requests == 0


@pytest.mark.parametrize(
    "host", ["pages.example.com", "pages.example.com:{}", "127.0.0.1", "", "localhost:1"]
)
def test_a_request_for_another_host_is_refused(endpoint: Endpoint, host: str) -> None:
    """A web page that leads a browser here under a name of its own (DNS rebinding) gets no credentials."""
    headers = {"Host": host.format(endpoint.server.server_port), "Authorization": endpoint.token}
    assert endpoint.get(**headers)[0] == 421
    assert endpoint.requests == 0
    assert endpoint.get(**headers | {"Host": f"localhost:{endpoint.server.server_port}"})[0] == 200


@pytest.mark.parametrize("path", ["/", "/role-aliases/other/credentials", f"{PATH}?x=1"])
def test_only_served_role_aliases_are_answered(endpoint: Endpoint, path: str) -> None:
    """The service is not asked for a role alias that the command line does not name."""
    assert endpoint.get(path, Authorization=endpoint.token)[0] == 404
    assert endpoint.requests == 0


def test_other_methods_are_refused(endpoint: Endpoint) -> None:
    """Only GET is answered."""
    assert endpoint.get(method="POST", Authorization=endpoint.token)[0] == 501


@pytest.mark.parametrize(
    ("action", "status"),
    [(Action.RETRY, 503), (Action.WAIT, 503), (Action.STOP, 403), (Action.REENROLL, 403)],
)
def test_a_refusal_tells_its_reason(endpoint: Endpoint, action: Action, status: int) -> None:
    """A refusal of the service reaches the program with its code and its detail."""
    endpoint.answer = Refused(action, "Some detail", code="some-code")
    assert endpoint.get(Authorization=endpoint.token) == (
        status,
        {"code": "some-code", "message": "Some detail"},
    )


def test_the_endpoint_is_this_devices_own(endpoint: Endpoint) -> None:
    """The endpoint listens on 127.0.0.1 only, and the token's file is its owner's only."""
    assert endpoint.server.server_address[0] == "127.0.0.1"
    assert endpoint.token_file.stat().st_mode & 0o777 == 0o600


def test_the_tokens_file_is_made_anew(tmp_path: Path) -> None:
    """A file or link that another user made in its place is replaced and not written to."""
    trap, token_file = tmp_path / "trap", tmp_path / "token"
    trap.write_text("old")
    token_file.symlink_to(trap)
    with serve.serving(0, {}, token_file):
        assert not token_file.is_symlink()
        assert len(token_file.read_text()) >= 32
    assert trap.read_text() == "old"
    assert not token_file.exists()


def test_each_start_has_a_token_of_its_own(tmp_path: Path) -> None:
    """A token is not used again."""
    tokens = set()
    for _ in range(3):
        with serve.serving(0, {}, tmp_path / "token"):
            tokens.add((tmp_path / "token").read_text())
    assert len(tokens) == 3


def test_silent_connections_do_not_add_up(endpoint: Endpoint) -> None:
    """Beyond the bound a connection is closed, and room is made when others end."""
    with ExitStack() as held:
        for _ in range(serve._CONNECTIONS):
            held.enter_context(socket.create_connection(endpoint.server.server_address))  # type: ignore[arg-type]
        with socket.create_connection(endpoint.server.server_address, timeout=10) as one_more:  # type: ignore[arg-type]
            assert one_more.recv(1) == b""
    # The others have ended, so that there is room again soon.
    for _ in range(100):
        try:
            assert endpoint.get(Authorization=endpoint.token)[0] == 200
            break
        except (http.client.HTTPException, OSError):
            continue
    else:
        pytest.fail("no connection was accepted again")


def test_boto3_uses_the_endpoint(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unmodified boto3 gets its credentials from the endpoint, and many sessions cause one request."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in serve.environment(endpoint.server, endpoint.token_file)[PATH].items():
        monkeypatch.setenv(name, value)
    for _ in range(5):
        found = boto3.Session().get_credentials()
        assert found
        assert found.method == "container-role"
        frozen = found.get_frozen_credentials()
        assert (frozen.access_key, frozen.secret_key, frozen.token) == ("id", "secret", "session")
    assert endpoint.requests == 1


def test_the_command_serves_until_it_is_stopped(service: Service, state: Path) -> None:
    """`serve` prints the variables, serves each role alias of a device that has booted, and ends with 0."""
    assert boot(service, state) == 0
    command = [sys.executable, "-m", "device", "serve", "--state", str(state), "--port", "0"]
    aliases = ["--role-alias", "telemetry", "--role-alias", "a,b=@c"]
    with subprocess.Popen([*command, *aliases], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        printed = json.loads(running.stdout.readline())
        assert list(printed) == [PATH, "/role-aliases/a,b=@c/credentials"]
        url = printed[PATH]["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        token_file = Path(printed[PATH]["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"])
        assert token_file == state / "credentials.token"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        script = "import boto3; print(boto3.Session().get_credentials().access_key)"
        programs = [
            subprocess.run(
                [sys.executable, "-c", script],
                env=environment | printed[PATH],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            for _ in range(2)
        ]
        assert [each.stdout.strip() for each in programs] == ["accessKeyId" * 2] * 2
        assert service.requests.count(CREDENTIALS) == 1
        assert url.startswith("http://127.0.0.1:")
        service.say("GET /role-aliases/a,b=@c/credentials", problem("stop", "said"))
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    assert not token_file.exists()
