"""Test that AWS's own clients, unmodified, get credentials from the endpoint of `device serve`."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.clients.aws import serving
from tests.clients.programs import aws_client
from tests.device.server import running
from tests.device.service import CREDENTIALS, Service
from tests.device.test_cli import boot

IDENTITY = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn</Arn><UserId>dev1</UserId><Account>1</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"""
CLI = ["aws", "sts", "get-caller-identity", "--output", "json"]
BOTO3 = [
    "python",
    "-c",
    "import boto3, json; print(json.dumps(boto3.client('sts').get_caller_identity(), default=str))",
]


class Sts(ThreadingHTTPServer):
    """A service of AWS that notes the access key and the session token of each call."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.calls: list[tuple[str, str]] = []


class _Call(BaseHTTPRequestHandler):
    server: Sts

    def do_POST(self) -> None:
        """Answer GetCallerIdentity."""
        self.rfile.read(int(self.headers["Content-Length"]))
        found = re.search("Credential=([^/]+)/", self.headers["Authorization"])
        assert found
        self.server.calls.append((found[1], self.headers["X-Amz-Security-Token"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(IDENTITY)))
        self.end_headers()
        self.wfile.write(IDENTITY)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Run a service that does nothing wrong."""
    with running(tmp_path) as service:
        yield service


@pytest.fixture
def sts() -> Iterator[Sts]:
    """Run an AWS service."""
    with Sts() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def endpoint(state: Path, sts: Sts) -> Iterator[dict[str, str]]:
    """Run `device serve` for a device that has booted; yield the environment of a program on the device."""
    with serving(state) as environment:
        yield environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{sts.server_port}"}


def test_the_aws_cli_and_boto3_share_one_request(service: Service, sts: Sts, tmp_path: Path) -> None:
    """Processes of the AWS CLI and of boto3 call AWS with credentials of one request."""
    state = tmp_path / "state"
    assert boot(service, state) == 0
    with endpoint(state, sts) as environment:
        programs = [
            subprocess.Popen(
                [aws_client(program), *arguments], env=environment, stdout=subprocess.PIPE, text=True
            )
            for program, *arguments in (CLI, BOTO3, CLI)
        ]
        answers = [json.loads(each.communicate(timeout=60)[0]) for each in programs]
    assert [each["UserId"] for each in answers] == ["dev1"] * 3
    assert sts.calls == [("accessKeyId" * 2, "sessionToken" * 2)] * 3
    assert service.requests.count(CREDENTIALS) == 1


def test_a_program_with_another_token_makes_no_call(service: Service, sts: Sts, tmp_path: Path) -> None:
    """The AWS CLI with another token than the file's gets no credentials, and causes no request."""
    state = tmp_path / "state"
    assert boot(service, state) == 0
    wrong = tmp_path / "wrong"
    wrong.write_text("x" * 43)
    with endpoint(state, sts) as environment:
        done = subprocess.run(
            [aws_client(CLI[0]), *CLI[1:]],
            env=environment | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(wrong)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "401" in done.stderr
    assert sts.calls == []
    assert CREDENTIALS not in service.requests
