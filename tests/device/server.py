"""Run the service of device tests on loopback, over real TLS, in this process.

One port is both hosts of the product: a request counts as the TLS client's, or as the signer's of its proof.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests import factories
from tests.device.service import Call, Service


@contextmanager
def running(folder: Path, service: Service | None = None) -> Iterator[Service]:
    """Run a service on a free port: `service`, or an ordinary one."""
    service = service or Service(folder)
    server = _Server(("127.0.0.1", 0), _handler(service))
    server.socket = server_context(service).wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    service.url = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing, because the tests kill and refuse clients on purpose."""


def server_context(service: Service) -> ssl.SSLContext:
    """Return the TLS context of the service's host."""
    key = factories.ec_key()
    certificate = service.web.issue(
        "localhost",
        key,
        eku=ExtendedKeyUsageOID.SERVER_AUTH,
        extra=[(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)],
        **service.web_options,
    )
    server = service.save("server", certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_OPTIONAL
    for authority in (service.factory, service.issuing):
        context.load_verify_locations(cadata=factories.pem(authority.certificate))
    return context


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        connection: ssl.SSLSocket

        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            der = self.connection.getpeercert(binary_form=True)
            peer = x509.load_der_x509_certificate(der) if der else None
            url = f"https://{self.headers['Host']}{self.path}"
            reply = service.answer(Call(self.command, self.path, url, self.headers, body, peer))
            self.send_response_only(reply.status)
            for name, value in ({"Content-Length": str(len(reply.content))} | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.content)

        def log_message(self, *arguments: Any) -> None:
            """Print nothing."""

    return Handler
