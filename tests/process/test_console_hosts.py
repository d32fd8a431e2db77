"""The doctor's look at a stack's hosts, over real sockets."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from console import hosts
from console.diagnosis import Level
from tests import factories


class Handler(http.server.BaseHTTPRequestHandler):
    """Healthy, and nothing else."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server whose refused handshakes are no news."""

    def handle_error(self, *arguments: object) -> None:
        """Say nothing."""


Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start an HTTPS server for a name; returns its URL, under `localhost`. The machine trusts its CA."""
    authority = factories.authority("server CA")
    (tmp_path / "ca.pem").write_text(factories.pem(authority.certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with contextlib.ExitStack() as stack:

        def start(*, demands: bool = False, name: str = "localhost") -> str:
            key = factories.ec_key()
            names = x509.SubjectAlternativeName([x509.DNSName(name)])
            leaf = authority.issue(name, key, eku=ExtendedKeyUsageOID.SERVER_AUTH, extra=[(names, False)])
            (tmp_path / "server.pem").write_text(factories.key_pem(key) + factories.pem(leaf))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tmp_path / "server.pem")
            if demands:
                context.verify_mode = ssl.CERT_REQUIRED
            server = Server(("127.0.0.1", 0), Handler)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return f"https://localhost:{server.server_port}"

        yield start


def test_a_healthy_host_is_healthy(serve: Serve) -> None:
    """It answers over HTTPS, with a certificate that the machine trusts."""
    assert hosts.public(serve()).level is Level.OK


def test_a_bundle_for_aws_is_trusted_too(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CAs of AWS_CA_BUNDLE are trusted for the hosts, as boto3 trusts them for AWS's calls."""
    public, mutual = serve(), serve(demands=True)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert {hosts.public(public).level, hosts.mtls(mutual, "alias").level} == {Level.FAIL}
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    assert {hosts.public(public).level, hosts.mtls(mutual, "alias").level} == {Level.OK}


def test_a_host_that_answers_otherwise_is_not(serve: Serve) -> None:
    """Nor is one that is another's."""
    found = hosts.public(f"{serve()}/elsewhere")
    assert (found.level, found.detail) == (Level.FAIL, "localhost answers 404")
    assert hosts.public(serve(name="other.example")).level is Level.FAIL


def test_what_is_said_of_a_presigned_url_is_not_the_url() -> None:
    """It is a secret while it lives; and nobody at its host is a failure."""
    found = hosts.presigned("https://localhost:1/x?X-Amz-Signature=secret")
    assert found.level is Level.FAIL
    assert "secret" not in found.detail


def test_a_host_that_demands_a_certificate_is_right(serve: Serve) -> None:
    """A client without one is refused in the handshake."""
    assert hosts.mtls(serve(demands=True), "alias").level is Level.OK


@pytest.mark.parametrize(
    ("answer", "level"),
    [(b"HTTP/1.1 403 Forbidden", Level.OK), (b"HTTP/1.1 404 Not Found", Level.FAIL), (b"", Level.OK)],
)
def test_a_refusal_may_be_an_answer(monkeypatch: pytest.MonkeyPatch, answer: bytes, level: Level) -> None:
    """API Gateway says 403; any other answer comes from behind it."""
    monkeypatch.setattr(hosts, "_without_certificate", lambda *_: answer)
    assert hosts.mtls("https://devices.example.com", "alias").level is level


def test_a_host_that_demands_none_is_not(serve: Serve) -> None:
    """Then it is not the mTLS host, whatever its name."""
    found = hosts.mtls(serve(), "alias")
    assert found.level is Level.FAIL
    assert "without a certificate" in found.detail


def test_a_host_with_anothers_certificate_is_not(serve: Serve) -> None:
    """A refusal would come from somebody else."""
    found = hosts.mtls(serve(demands=True, name="other.example"), "alias")
    assert found.level is Level.FAIL
    assert "not valid for" in found.detail


def test_a_name_without_an_address_is_told_where_to_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the step that is forgotten most."""

    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", nowhere)
    found = hosts.mtls("https://devices.example.com", "d-1.execute-api.example.com")
    assert found.level is Level.FAIL
    assert "point its DNS record at d-1.execute-api.example.com" in found.detail


def test_a_host_that_nobody_is_at_fails() -> None:
    """A refused connection is not a refused client."""
    assert hosts.mtls("https://localhost:1", "alias").level is Level.FAIL
