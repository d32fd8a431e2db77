"""The doctor looks at a stack's hosts over real sockets."""

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
from console.diagnosis import Level, Line
from tests import factories


class Handler(http.server.BaseHTTPRequestHandler):
    """A handler that answers 200 for /healthz and 404 for any other path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with a status and no body."""
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Log nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server that ignores refused handshakes."""

    def handle_error(self, *arguments: object) -> None:
        """Ignore the error."""


Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Return a function that starts an HTTPS server for a name, under a trusted CA, and returns its URL."""
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


def test_a_host_that_answers_is_ok(serve: Serve) -> None:
    """A host that answers /healthz under a trusted certificate is ok."""
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


def test_a_host_that_answers_otherwise_fails(serve: Serve) -> None:
    """A host with another answer, or with a certificate for another name, fails."""
    found = hosts.public(f"{serve()}/elsewhere")
    assert (found.level, found.detail) == (Level.FAIL, "localhost answers 404")
    found = hosts.public(serve(name="other.example"))
    assert found.level is Level.FAIL
    assert "certificate is not valid for 'localhost'" in found.detail
    assert "SSL_CERT_FILE" not in found.detail


@pytest.mark.parametrize("look", [hosts.public, lambda url: hosts.mtls(url, "alias")], ids=["public", "mtls"])
@pytest.mark.parametrize(
    ("file", "words"),
    [
        (None, "SSL_CERT_FILE is not set"),
        ("other.pem", "SSL_CERT_FILE names {file}: the CA of that host must be in it"),
        ("missing.pem", "SSL_CERT_FILE is wrong: {file}: No such file or directory"),
    ],
)
def test_an_untrusted_host_is_told_apart_from_a_silent_one(
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[[str], Line],
    file: str | None,
    words: str,
) -> None:
    """A certificate that this machine does not trust fails with the setting that decides it."""
    url = serve(demands=True)
    path = tmp_path / (file or "")
    (tmp_path / "other.pem").write_text(factories.pem(factories.authority("Other CA").certificate))
    monkeypatch.delenv("SSL_CERT_FILE")
    if file:
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    found = look(url)
    assert found.level is Level.FAIL
    assert "its certificate is refused" in found.detail
    assert words.format(file=path) in found.detail


def test_a_wrong_bundle_for_aws_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An AWS_CA_BUNDLE that is not there fails with its path, for each host."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    words = f"localhost: AWS_CA_BUNDLE is wrong: {tmp_path}/missing.pem: No such file or directory"
    assert hosts.public("https://localhost:1").detail == words
    assert hosts.mtls("https://localhost:1", "alias").detail == words


def test_a_silent_host_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that accepts the connection and does not answer fails with the time that was waited."""
    monkeypatch.setattr(hosts, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = hosts.public(f"https://localhost:{silent.getsockname()[1]}")
    assert (found.level, found.detail) == (Level.FAIL, "localhost: no answer within 0.2 s")


def test_a_host_that_is_not_http_fails() -> None:
    """A server of another protocol fails, and the doctor goes on."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=greet, daemon=True).start()
        found = hosts.public(f"http://localhost:{server.getsockname()[1]}")
    assert found.level is Level.FAIL


def test_a_failure_does_not_show_the_presigned_url() -> None:
    """A presigned URL is a secret, so a failure shows its host only."""
    found = hosts.presigned("https://localhost:1/x?X-Amz-Signature=secret")
    assert found.level is Level.FAIL
    assert "secret" not in found.detail


def test_an_mtls_host_that_demands_a_certificate_is_ok(serve: Serve) -> None:
    """A host that refuses a client without a certificate in the handshake is ok."""
    assert hosts.mtls(serve(demands=True), "alias").level is Level.OK


@pytest.mark.parametrize(
    ("answer", "level"),
    [(b"HTTP/1.1 403 Forbidden", Level.OK), (b"HTTP/1.1 404 Not Found", Level.FAIL), (b"", Level.OK)],
)
def test_an_mtls_host_may_refuse_with_403(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, level: Level
) -> None:
    """The answer 403, which API Gateway gives, is a refusal, and any other answer fails."""
    monkeypatch.setattr(hosts, "_without_certificate", lambda *_: answer)
    assert hosts.mtls("https://devices.example.com", "alias").level is level


def test_an_mtls_host_that_does_not_speak_tls_fails() -> None:
    """A server that answers without TLS is not taken for one that refuses the client."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = hosts.mtls(f"https://localhost:{server.server_port}", "alias")
        server.shutdown()
    assert found.level is Level.FAIL


def test_an_mtls_host_that_demands_no_certificate_fails(serve: Serve) -> None:
    """A host that answers a client without a certificate fails."""
    found = hosts.mtls(serve(), "alias")
    assert found.level is Level.FAIL
    assert "without a certificate" in found.detail


def test_an_mtls_host_with_a_certificate_for_another_name_fails(serve: Serve) -> None:
    """A host whose certificate is for another name fails."""
    found = hosts.mtls(serve(demands=True, name="other.example"), "alias")
    assert found.level is Level.FAIL
    assert "not valid for" in found.detail


def test_an_mtls_host_without_an_address_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without an address fails with the host to which its DNS record must point."""

    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", nowhere)
    found = hosts.mtls("https://devices.example.com", "d-1.execute-api.example.com")
    assert found.level is Level.FAIL
    assert "point its DNS record at d-1.execute-api.example.com" in found.detail


def test_a_host_without_a_server_fails() -> None:
    """A refused connection fails, because it is not a refused client."""
    assert hosts.mtls("https://localhost:1", "alias").level is Level.FAIL
