"""The console as a process, with a server of the test in place of AWS."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests import factories
from tests.processes import interruptible

ROOT = Path(__file__).parents[2]
COMMAND = interruptible("console", "devices", "list")
CONSOLE = [sys.executable, "-m", "console"]

# A shell without job control starts a command that ends with `&` in this way.
IN_THE_BACKGROUND = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]

STACK = """<DescribeStacksResponse><DescribeStacksResult><Stacks><member>
  <StackName>Firstboot</StackName><StackStatus>CREATE_COMPLETE</StackStatus>
  <CreationTime>2026-01-01T00:00:00Z</CreationTime><StackId>arn:aws:cloudformation:us-east-1:1:stack/F/0</StackId>
  <Outputs>
    <member><OutputKey>OperateFunction</OutputKey><OutputValue>operate</OutputValue></member>
    <member><OutputKey>ReadFunction</OutputKey><OutputValue>read</OutputValue></member>
  </Outputs>
</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"""
DEVICE: dict[str, Any] = {
    "deviceId": "gw-1",
    "group": "gateways",
    "status": "enrolled",
    "active": None,
    "attributes": {},
}


class Aws(http.server.ThreadingHTTPServer):
    """CloudFormation and Lambda for the console. `devices.list` never ends, and every other call succeeds."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.operations: list[str] = []
        self.loses_answers = False

    def handle_error(self, *arguments: object) -> None:
        """Ignore a refused handshake."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answer one request, or lose its answer."""

    server: Aws

    def do_POST(self) -> None:
        """Answer DescribeStacks or Invoke."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith(("/2015-03-31/functions/operate/", "/2015-03-31/functions/read/")):
            operation = json.loads(body)["operation"]
            self.server.operations.append(operation)
            if self.server.loses_answers:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            pages = {"devices.list": {"devices": [DEVICE] * 100, "next": "more"}}
            answer = json.dumps({"result": pages.get(operation, DEVICE)})
        else:
            answer = STACK
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


@pytest.fixture
def aws() -> Iterator[Aws]:
    """Serve AWS without TLS."""
    with serving(Aws()) as server:
        yield server


@contextlib.contextmanager
def serving(server: Aws) -> Iterator[Aws]:
    """Serve until the end of the context."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def environment(port: int, scheme: str = "http", **more: str) -> dict[str, str]:
    """Return the environment of an operator whose AWS is at a port of this machine."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return ours | {
        "AWS_ENDPOINT_URL": f"{scheme}://localhost:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        **more,
    }


def ran(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the console to its end."""
    return subprocess.run(
        [*CONSOLE, *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("prefix", [[], IN_THE_BACKGROUND], ids=["terminal", "background"])
def test_ctrl_c_ends_it_cleanly(prefix: list[str]) -> None:
    """A console that is interrupted while AWS does not answer ends with exit code 130 and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        with subprocess.Popen(
            [*prefix, *COMMAND], env=environment(silent.getsockname()[1]), stderr=subprocess.PIPE, text=True
        ) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
            connection.close()
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_without_aws_settings_it_says_so() -> None:
    """Without a region and credentials, the console ends with exit code 3 and a sentence."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ours |= dict.fromkeys(["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"], os.devnull)
    done = ran("devices", "list", **ours, AWS_EC2_METADATA_DISABLED="true")
    assert (done.returncode, done.stdout) == (3, "")
    assert "region" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["table", "json"])
def test_a_listing_ends_when_its_reader_does(aws: Aws, as_json: list[str]) -> None:
    """`devices list | head` ends quietly with exit code 0, although there are more devices."""
    with subprocess.Popen(
        [*CONSOLE, "devices", "list", *as_json],
        env=environment(aws.server_port),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == ""


def unread(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the console with a standard output that its reader has closed. Return exit code and errors."""
    environment.pop("PYTHONUNBUFFERED", None)  # output that is written at the exit only must not fail either
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*CONSOLE, *arguments],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["table", "json"])
def test_a_closed_pipe_does_not_change_what_is_done(aws: Aws, as_json: list[str]) -> None:
    """A command whose output is not read does its work, and its exit code says so."""
    assert unread("devices", "revoke", "gw-1", *as_json, **environment(aws.server_port)) == (0, "")
    assert aws.operations == ["devices.revoke"]
    assert unread("fleet", "check", "tests", *as_json, **environment(aws.server_port)) == (1, "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fleet", "check"], ["fleet", "report"]])
def test_a_closed_pipe_is_no_traceback(arguments: list[str]) -> None:
    """No command prints an error because its output is not read."""
    assert unread(*arguments, **os.environ)[1] == ""


def test_a_lost_answer_is_said_to_be_lost(aws: Aws) -> None:
    """If the answer of a call was lost, the problem says that the call may have been carried out."""
    aws.loses_answers = True
    done = ran("devices", "revoke", "gw-1", "--json", **environment(aws.server_port))
    problem = json.loads(done.stderr)
    assert (done.returncode, problem["code"]) == (3, "answer-lost")
    assert "devices.revoke" in problem["detail"]
    assert "may have been carried out" in problem["detail"]


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Aws]:
    """Serve AWS for `localhost` with a certificate of the CA in ca.pem."""
    authority, key = factories.authority("server CA"), factories.ec_key()
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    leaf = authority.issue("localhost", key, eku=ExtendedKeyUsageOID.SERVER_AUTH, extra=[(names, False)])
    (tmp_path / "ca.pem").write_text(factories.pem(authority.certificate))
    (tmp_path / "other.pem").write_text(factories.pem(factories.authority("Other CA").certificate))
    (tmp_path / "text.pem").write_text("text")
    (tmp_path / "server.pem").write_text(factories.key_pem(key) + factories.pem(leaf))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server = Aws()
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with serving(server):
        yield server


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (None, "AWS_CA_BUNDLE is not set"),
        ("other.pem", "AWS_CA_BUNDLE names {file}: the CA of that host must be in it"),
        ("text.pem", "AWS_CA_BUNDLE is wrong: {file} has no PEM certificate"),
        ("missing.pem", "AWS_CA_BUNDLE is wrong: {file}: No such file or directory"),
        ("", "AWS_CA_BUNDLE is wrong: {file}: Is a directory"),
    ],
)
def test_an_untrusted_endpoint_is_told_apart_from_a_lost_answer(
    tls: Aws, tmp_path: Path, file: str | None, words: str
) -> None:
    """A wrong or missing CA bundle is named in the problem, and nothing is called."""
    bundle: dict[str, Any] = {} if file is None else {"AWS_CA_BUNDLE": str(tmp_path / file)}
    done = ran("devices", "revoke", "gw-1", "--json", **environment(tls.server_port, "https", **bundle))
    problem = json.loads(done.stderr)
    assert (done.returncode, problem["code"]) == (3, "tls-failed")
    assert f"https://localhost:{tls.server_port}" in problem["detail"]
    assert words.format(file=tmp_path / file if file is not None else "") in problem["detail"]
    assert tls.operations == []


def test_the_right_ca_bundle_is_trusted(tls: Aws, tmp_path: Path) -> None:
    """With the endpoint's CA in AWS_CA_BUNDLE, a call succeeds."""
    bundle = str(tmp_path / "ca.pem")
    done = ran("devices", "show", "gw-1", **environment(tls.server_port, "https", AWS_CA_BUNDLE=bundle))
    assert (done.returncode, tls.operations) == (0, ["devices.show"]), done.stderr


def test_the_version_is_the_projects() -> None:
    """`--version` prints the version of pyproject.toml, from any folder."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    done = subprocess.run([*CONSOLE, "--version"], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == f"firstboot {version}\n"


COMPLETED = """
script=$("$PROGRAM" --show-completion bash) || exit 1
eval "$script"
COMP_WORDS=($WORDS "") COMP_CWORD=$(set -- $WORDS; echo $#)
$(complete -p console | sed 's/.*-F \\([^ ]*\\) .*/\\1/') "$PROGRAM"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (
            "console",
            {"devices", "doctor", "factory", "failures", "fleet", "groups", "hubs", "preflight", "registry"},
        ),
        (
            "console devices",
            {"delete", "explain", "import", "list", "rebind", "repair", "revoke", "set", "show"},
        ),
    ],
)
def test_a_shell_completes_the_commands(words: str, offered: set[str]) -> None:
    """The script of `--show-completion` makes bash offer the commands of `console`."""
    program = ROOT / ".venv" / "bin" / "console"
    done = subprocess.run(
        ["bash", "-c", COMPLETED],
        env=os.environ | {"WORDS": words, "PROGRAM": str(program)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == offered
