"""A token issuer for tests, with keys and tokens, and a TLS server on loopback for its JWK set."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from firstboot.domain.token_issuer import TokenIssuer
from tests import factories

AUDIENCE = "urn:firstboot:us-east-1:123456789012:Firstboot"
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def jwk(key: Key, **members: Any) -> dict[str, Any]:
    """Return the public half of `key` as a JWK."""
    public = (
        ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        if isinstance(key, ec.EllipticCurvePrivateKey)
        else RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    )
    return {**public, **members}


@dataclass
class Issuer:
    """A token issuer with a key of each kind: `ec` (ES256) and `rsa` (RS256, PS256)."""

    url: str = "https://id.example.com"
    jwks: str = "https://id.example.com/jwks"
    keys: dict[str, Key] = field(
        default_factory=lambda: {"ec": factories.ec_key(), "rsa": factories.rsa_key()}
    )

    def entry(self, *groups: str, **changes: Any) -> TokenIssuer:
        """Return the issuer as a compiled fleet has it."""
        values: dict[str, Any] = {
            "name": "acme",
            "issuer": self.url,
            "jwks": self.jwks,
            "algorithms": ("ES256", "RS256", "PS256"),
            "groups": groups or ("gateways",),
        }
        return TokenIssuer(**values | changes)

    def document(self) -> bytes:
        """Return the JWK set as JSON."""
        return json.dumps({"keys": [jwk(key, kid=name) for name, key in self.keys.items()]}).encode()

    def claims(self, now: datetime = NOW, **changes: Any) -> dict[str, Any]:
        """Return valid claims of one hour. A change to None removes a claim."""
        at = int(now.timestamp())
        good = {"iss": self.url, "aud": AUDIENCE, "sub": "gw-1", "iat": at, "nbf": at, "exp": at + 3600}
        return {name: value for name, value in (good | changes).items() if value is not None}

    def token(
        self,
        algorithm: str = "ES256",
        *,
        now: datetime = NOW,
        header: dict[str, Any] | None = None,
        key: Any = None,
        **claims: Any,
    ) -> str:
        """Return a valid token, with changes. A header member of None is left out."""
        name = "ec" if algorithm == "ES256" else "rsa"
        members: dict[str, Any] = {"typ": "at+jwt", "kid": name} | (header or {})
        return jwt.encode(
            self.claims(now, **claims),
            key or self.keys[name],
            algorithm=algorithm,
            # PyJWT adds `"typ": "JWT"` by itself, and leaves out an empty `typ`.
            headers={k: v for k, v in members.items() if v is not None} | _without(members),
        )

    def forged(self, algorithm: str, secret: bytes = b"", **header: Any) -> str:
        """Return a token with no signature of the issuer's keys: an HMAC with `secret`, or an empty one."""
        head = {"alg": algorithm, "typ": "at+jwt", "kid": "ec", **header}
        signed = f"{_part(head)}.{_part(self.claims())}"
        signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest() if secret else b""
        return f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"

    def public_pem(self, name: str) -> bytes:
        """Return a public key as PEM, which algorithm confusion uses as an HMAC secret."""
        return self.keys[name].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _without(members: dict[str, Any]) -> dict[str, Any]:
    return {"typ": ""} if members.get("typ") is None else {}


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@dataclass
class Web:
    """An issuer's web server.

    It answers with `status`, `body` and `headers`, and keeps the requested paths in `asked`. While `hold` is
    clear it delays all answers. `ca` is the file of the CA that issued its certificate. If `hostile` is set,
    it writes that text and then again and again the other one, until the client is gone, with as many seconds
    between them.
    """

    url: str
    ca: Path
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    hostile: tuple[bytes, bytes, float] | None = None


HOSTILE = {
    "headers that come slowly": (b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.05),
    "headers without an end": (b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * 60_000 + b"\r\n", 0.01),
    "a body that comes slowly": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"a", 0.05),
    "a body without an end": (b"HTTP/1.1 200 OK\r\n\r\n", b"a", 0.05),
    "chunks without an end": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", 0.05),
    "interim answers without an end": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0),
}
"""Hostile answers of a server: a first text, another one that is repeated, and the seconds between them."""


@contextmanager
def serving(folder: Path, body: bytes, *, tls: bool = True) -> Iterator[Web]:
    """Run a web server that answers with `body`, on a free port of localhost."""
    authority = factories.authority("Issuer's web CA")
    web = Web("", folder / "issuer-ca.pem", 200, body)
    web.hold.set()
    web.ca.write_text(factories.pem(authority.certificate))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(web))
    server.daemon_threads = False
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients close connections early
    if tls:
        server.socket = _context(folder, authority).wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    web.url = f"http{'s' if tls else ''}://localhost:{server.server_port}/jwks"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        web.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _context(folder: Path, authority: factories.Authority) -> ssl.SSLContext:
    key = factories.ec_key()
    leaf = authority.issue(
        "localhost",
        key,
        eku=ExtendedKeyUsageOID.SERVER_AUTH,
        extra=[(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)],
    )
    file = folder / "issuer-web.pem"
    file.write_text(factories.key_pem(key) + factories.pem(leaf))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(self.path)
            web.hold.wait(20)
            if web.hostile:
                self._torment(*web.hostile)
            self.send_response(web.status)
            for name, value in web.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(web.body)))
            self.end_headers()
            self.wfile.write(web.body)

        def _torment(self, first: bytes, again: bytes, seconds: float) -> None:
            self.wfile.write(first)
            while True:  # until the client has closed the connection
                self.wfile.write(again)
                time.sleep(seconds)

        def log_message(self, *_: Any) -> None:
            """Print no log lines."""

    return Handler
