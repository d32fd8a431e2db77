"""A service for device tests: real TLS on loopback, one process, and made to misbehave."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from device.boot import Wish
from device.store import Identity
from tests import factories

ENROLL, COMMIT = "POST /v1/certificates", "POST /v1/certificates/commit"
DEVICE, CHAIN = "GET /v1/device", "GET /chain"
CREDENTIALS = "GET /role-aliases/telemetry/credentials"


@dataclass(frozen=True)
class Reply:
    """An answer, as it goes on the wire."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body's bytes: JSON unless they are bytes already."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def problem(action: str, code: str = "some-code", status: int = 400, **members: Any) -> Reply:
    """A refusal in the service's own shape."""
    return Reply(status, {"code": code, "detail": "Some detail", "action": action, **members})


class Service:
    """What docs/protocol.md says of one device's calls. `say` puts an answer before the true one."""

    def __init__(self, folder: Path) -> None:
        self.web, self.factory, self.issuing = (factories.authority(n) for n in ("Web", "Factory", "Issuing"))
        self.folder = folder
        self.url = ""
        self.issued: list[x509.Certificate] = []
        self.committed: list[x509.Certificate] = []
        self.requests: list[str] = []
        self.enrollments: list[dict[str, Any]] = []
        self._said: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._lock = threading.Lock()
        self.ca = folder / "web-ca.pem"
        self.ca.write_text(factories.pem(self.web.certificate))

    def say(self, route: str, *replies: Reply) -> None:
        """Answer the next calls of `route` with `replies`."""
        self._said[route].extend(replies)

    def forget(self) -> None:
        """Know no device."""
        self.issued.clear()
        self.committed.clear()
        self._said.clear()

    def bootstrap(self, name: str = "dev1", **options: Any) -> Identity:
        """A factory's identity for a device."""
        key = factories.ec_key()
        return self.save(f"bootstrap-{name}", self.factory.issue(name, key, **options), key)

    def save(self, name: str, certificate: x509.Certificate, key: factories.PrivateKey) -> Identity:
        """PEM files of a certificate and its key."""
        identity = Identity(self.folder / f"{name}.crt", self.folder / f"{name}.private")
        identity.certificate.write_text(factories.pem(certificate))
        identity.key.write_text(factories.key_pem(key))
        return identity

    def wish(self, **options: Any) -> Wish:
        """To be enrolled with a bootstrap certificate of our factory."""
        return Wish(self.bootstrap(), **options)

    def answer(self, route: str, peer: x509.Certificate | None, body: bytes) -> Reply:
        """What a request gets. One at a time, as the registry's conditions have it."""
        with self._lock:
            self.requests.append(route)
            if self._said[route]:
                return self._said[route].popleft()
            return self._truth(route, peer, body)

    def _truth(self, route: str, peer: x509.Certificate | None, body: bytes) -> Reply:
        if route.startswith(CHAIN):
            assert peer is None, "a storage service must not be shown the device's certificate"
            return Reply(200, self.chain(self.issued[int(route.removeprefix(CHAIN + "/"))]))
        assert peer
        if route == ENROLL:
            assert peer.issuer == self.factory.certificate.subject
            plain = {"csr": body.decode(), "deliver": "url"}  # application/pkcs10
            return self._enroll(plain if body.startswith(b"-----") else json.loads(body), peer)
        if peer not in self.issued or (self.committed and peer not in self.issued[-1:]):
            return problem("reenroll", "certificate-not-current", 403)
        if peer not in self.committed:
            self.committed.append(peer)
        if route == CREDENTIALS:
            names = ("accessKeyId", "secretAccessKey", "sessionToken")
            return Reply(
                200, {"credentials": {n: n * 2 for n in names} | {"expiration": "2030-01-01T00:00:00Z"}}
            )
        return Reply(
            200, {"deviceId": common_name(peer), "certificateId": identifier(peer), "status": "active"}
        )

    def _enroll(self, request: dict[str, Any], peer: x509.Certificate) -> Reply:
        self.enrollments.append(request)
        csr = x509.load_pem_x509_csr(request["csr"].encode())
        known = [
            n for n, certificate in enumerate(self.issued) if certificate.public_key() == csr.public_key()
        ]
        if not known:
            self.issued.append(self.issue(common_name(peer), csr))
        return Reply(201, self.announce(known[0] if known else -1, request["deliver"]))

    def issue(self, name: str, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        """An operational certificate for a CSR's key."""
        key = csr.public_key()
        return self.issuing.issue(name, Public(key))  # type: ignore[arg-type]

    def announce(self, number: int, deliver: str = "url", **changes: Any) -> dict[str, Any]:
        """The body that says where certificate `number` is."""
        certificate = self.issued[number]
        where: dict[str, Any] = {"certificateUrl": f"{self.url}/chain/{number % len(self.issued)}"}
        if deliver == "inline":
            ders = [c.public_bytes(Encoding.DER) for c in (certificate, self.issuing.certificate)]
            leaf, ca = (base64.b64encode(der).decode() for der in ders)
            where = {"certificate": leaf, "chain": [ca]}
        return {
            "deviceId": common_name(certificate),
            "certificateId": identifier(certificate),
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **where,
            **changes,
        }

    def chain(self, leaf: x509.Certificate) -> bytes:
        """The file at a certificate's URL."""
        return (factories.pem(leaf) + factories.pem(self.issuing.certificate)).encode()


@dataclass(frozen=True)
class Public:
    """A public key in the place of a private one, for `Authority.issue`."""

    key: Any

    def public_key(self) -> Any:
        """The key."""
        return self.key


def common_name(certificate: x509.Certificate) -> str:
    """The subject's CN."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def identifier(certificate: x509.Certificate) -> str:
    """The certificate id."""
    return certificate.fingerprint(hashes.SHA256()).hex()


@contextmanager
def running(folder: Path) -> Iterator[Service]:
    """A service on a free port."""
    service = Service(folder)
    server = _Server(("127.0.0.1", 0), _handler(service))
    server.socket = _context(service).wrap_socket(
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
        """Say nothing: clients are killed and refused on purpose."""


def _context(service: Service) -> ssl.SSLContext:
    key = factories.ec_key()
    certificate = service.web.issue(
        "localhost",
        key,
        eku=ExtendedKeyUsageOID.SERVER_AUTH,
        extra=[(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)],
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
            reply = service.answer(f"{self.command} {self.path}", peer, body)
            self.send_response_only(reply.status)
            for name, value in ({"Content-Length": str(len(reply.content))} | reply.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.content)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    return Handler
