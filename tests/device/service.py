"""A service for device tests, which a test can make misbehave. The module `server` runs it on a socket."""

from __future__ import annotations

import base64
import json
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from device.store import FileIdentity
from tests import factories
from tests.device.proofs import Proofs, Replayed, Stale

ENROLL, COMMIT = "POST /v1/certificates", "POST /v1/certificates/commit"
DEVICE, CHAIN, NONCE = "GET /v1/device", "GET /chain", "GET /v1/nonce"
CREDENTIALS = "GET /role-aliases/telemetry/credentials"


@dataclass(frozen=True)
class Reply:
    """An answer to be sent."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """Return the body's bytes. A body that is not bytes is sent as JSON."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def problem(action: str, code: str = "some-code", status: int = 400, **members: Any) -> Reply:
    """Return a refusal in the service's own format."""
    return Reply(status, {"code": code, "detail": "Some detail", "action": action, **members})


@dataclass(frozen=True)
class Call:
    """A request. `peer` is the TLS client certificate."""

    method: str
    path: str
    url: str
    headers: Any
    body: bytes
    peer: x509.Certificate | None

    @property
    def route(self) -> str:
        """Return method and path."""
        return f"{self.method} {self.path}"


class Service:
    """A service that answers one device as docs/protocol.md says. `say` puts an answer before the correct
    one.

    `requests` holds the routes of all calls but those for a nonce, `callers` the certificates that they were
    made with. An issued certificate whose serial is in
    `due` is due for renewal. `web_options` change the server's TLS certificate.
    """

    def __init__(self, folder: Path) -> None:
        self.web, self.factory, self.issuing = (factories.authority(n) for n in ("Web", "Factory", "Issuing"))
        self.folder = folder
        self.url = ""
        self.web_options: dict[str, Any] = {}
        self.issued: list[x509.Certificate] = []
        self.committed: list[x509.Certificate] = []
        self.requests: list[str] = []
        self.callers: list[x509.Certificate] = []
        self.nonces_given = 0
        self.due: set[int] = set()
        self.proofs = Proofs(self.factory, self.issuing)
        self.enrollments: list[dict[str, Any]] = []
        self._said: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._lock = threading.Lock()
        self.ca = folder / "web-ca.pem"
        self.ca.write_text(factories.pem(self.web.certificate))

    def say(self, route: str, *replies: Reply) -> None:
        """Answer the next calls of `route` with `replies`."""
        self._said[route].extend(replies)

    def forget(self) -> None:
        """Forget all devices."""
        self.issued.clear()
        self.committed.clear()
        self.due.clear()
        self.callers.clear()
        self._said.clear()

    def bootstrap(self, name: str = "dev1", **options: Any) -> FileIdentity:
        """Make a bootstrap identity for a device."""
        key = factories.ec_key()
        return self.save(f"bootstrap-{name}", self.factory.issue(name, key, **options), key)

    def save(self, name: str, certificate: x509.Certificate, key: factories.PrivateKey) -> FileIdentity:
        """Write a certificate and its key as PEM files."""
        identity = FileIdentity(self.folder / f"{name}.crt", self.folder / f"{name}.private")
        identity.certificate.write_text(factories.pem(certificate))
        identity.key.write_text(factories.key_pem(key))
        return identity

    def answer(self, call: Call) -> Reply:
        """Answer a request. Requests are answered one at a time, as by the product's conditional writes."""
        with self._lock:
            if call.route != NONCE:
                self.requests.append(call.route)
            if self._said[call.route]:
                return self._said[call.route].popleft()
            return self._truth(call)

    def _truth(self, call: Call) -> Reply:
        if call.route.startswith(CHAIN):
            shown = call.peer or call.headers["Authorization"]
            assert not shown, "a storage service must not be shown who the device is"
            return Reply(200, self.chain(self.issued[int(call.path.removeprefix("/chain/"))]))
        if call.route == NONCE:
            self.nonces_given += 1
            return Reply(200, {"nonce": self.proofs.nonce}, {"DPoP-Nonce": self.proofs.nonce})
        if call.peer:
            assert "Authorization" not in call.headers, "one identity a request"
            return self._for(call, call.peer)
        return self._proven(call)

    def _proven(self, call: Call) -> Reply:
        kind, _, token = call.headers["Authorization"].partition(" ")
        assert kind == "Bearer"
        try:
            return self._for(call, self.proofs.signer(token, call.method, call.url, call.body))
        except Stale:
            reply = problem("retry", "proof-stale", 401, nonce=self.proofs.nonce)
            return replace(reply, headers={"DPoP-Nonce": self.proofs.nonce})
        except Replayed:
            return problem("retry", "proof-replayed", 401)
        except (ValueError, jwt.PyJWTError) as error:
            return problem("stop", "proof-invalid", 401, detail=str(error))

    def _for(self, call: Call, peer: x509.Certificate) -> Reply:
        self.callers.append(peer)
        if peer.issuer == self.factory.certificate.subject:
            assert call.route == ENROLL
            return self._enroll(call.body, peer)
        refusal = self._refusal(call, peer)
        if refusal or call.route == ENROLL:
            return refusal or self._enroll(call.body, peer)
        if peer not in self.committed:
            self.committed.append(peer)
        if call.route == CREDENTIALS:
            names = ("accessKeyId", "secretAccessKey", "sessionToken")
            return Reply(
                200, {"credentials": {n: n * 2 for n in names} | {"expiration": "2030-01-01T00:00:00Z"}}
            )
        answer = {"deviceId": common_name(peer), "certificateId": identifier(peer), "status": "active"}
        renew = {"renew": peer.serial_number in self.due} if call.route == DEVICE else {}
        return Reply(200, answer | renew)

    def _refusal(self, call: Call, peer: x509.Certificate) -> Reply | None:
        """Return the refusal for an operational certificate, or None if it is accepted."""
        asked = _key(call.body) if call.route == ENROLL else None
        if peer.not_valid_after_utc < datetime.now(UTC) and asked != peer.public_key():
            return problem("reenroll", "certificate-expired", 401)
        current = {*self.issued[-1:], *self.committed[-1:]}
        successor = self.committed[-1].public_key() if peer in self.committed[:-1] else None
        if peer in current or (asked and asked == successor):
            return None
        return problem("reenroll", "certificate-not-current", 403)

    def _enroll(self, body: bytes, peer: x509.Certificate) -> Reply:
        request = _request(body)
        self.enrollments.append(request)
        csr = x509.load_pem_x509_csr(request["csr"].encode())
        for number, certificate in enumerate(self.issued):
            # The same key may be certified again once its certificate's time has come.
            if certificate.public_key() == csr.public_key() and certificate.serial_number not in self.due:
                return Reply(201, self.announce(number, request["deliver"]))
        self.issued.append(self.issue(common_name(peer), csr))
        return Reply(201, self.announce(-1, request["deliver"]))

    def issue(self, name: str, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        """Return an operational certificate for a CSR's key."""
        return self.issuing.issue(name, Public(csr.public_key()))  # type: ignore[arg-type]

    def announce(self, number: int, deliver: str = "url", **changes: Any) -> dict[str, Any]:
        """Return the answer that announces certificate `number`."""
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
        """Return the file at a certificate's URL."""
        return (factories.pem(leaf) + factories.pem(self.issuing.certificate)).encode()


@dataclass(frozen=True)
class Public:
    """A public key in place of a private one, for `Authority.issue`."""

    key: Any

    def public_key(self) -> Any:
        """Return the key."""
        return self.key


def _request(body: bytes) -> dict[str, Any]:
    plain = body.startswith(b"-----")  # application/pkcs10
    return {"csr": body.decode(), "deliver": "url"} if plain else dict(json.loads(body))


def _key(body: bytes) -> Any:
    """Return the key of the CSR in a request."""
    return x509.load_pem_x509_csr(_request(body)["csr"].encode()).public_key()


def common_name(certificate: x509.Certificate) -> str:
    """Return the subject's common name."""
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def identifier(certificate: x509.Certificate) -> str:
    """Return the certificate id."""
    return certificate.fingerprint(hashes.SHA256()).hex()
