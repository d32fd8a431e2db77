"""Bad input on real sockets is refused in the handshake or with a clear answer, and nothing is written."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests import factories
from tests.factories import Authority, PrivateKey
from tests.flows.conftest import Cloud, save
from tests.flows.devices import Device, client, fresh_name, issued, recorded

HANDSHAKE = "refused in the handshake"
ENROLL, COMMIT, DEVICE = "/v1/certificates", "/v1/certificates/commit", "/v1/device"
CREDENTIALS = "/role-aliases/telemetry/credentials"
LATER, LONG_AGO = datetime.now(UTC) + timedelta(days=1), datetime.now(UTC) - timedelta(days=9)

Identity = tuple[Path, Path]


@dataclass(frozen=True)
class Answer:
    """An answer over HTTPS."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def members(self) -> dict[str, Any]:
        """Return the members of the JSON body."""
        members: dict[str, Any] = json.loads(self.body)
        return members


def ask(
    cloud: Cloud,
    identity: Identity,
    method: str,
    path: str,
    body: bytes | None = None,
    kind: str = "application/json",
) -> Answer:
    """Send one request to the mTLS host, by a client that does not check its own certificate."""
    context = ssl.create_default_context(cafile=cloud.endpoints["api_ca"])
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # at the default level OpenSSL does not send a weak key
    context.load_cert_chain(*identity)
    host = urlsplit(cloud.endpoints["mtls"])
    connection = http.client.HTTPSConnection(host.hostname or "", host.port, context=context, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
    finally:
        connection.close()


def code(cloud: Cloud, identity: Identity, method: str, path: str, body: bytes | None = None) -> str:
    """Return the code that a request is refused with, or HANDSHAKE if the handshake fails."""
    try:
        answer = ask(cloud, identity, method, path, body)
    except (ssl.SSLError, ConnectionError):
        return HANDSHAKE
    assert is_a_problem(answer)
    return str(answer.members["code"])


def is_a_problem(answer: Answer) -> bool:
    """Return whether an answer is a problem as docs/protocol.md describes it (RFC 9457)."""
    wanted = {"type", "title", "status", "detail", "code", "requestId", "action", "time"}
    return (
        answer.headers["content-type"] == "application/problem+json"
        and set(answer.members) >= wanted
        and answer.members["status"] == answer.status
        and len(answer.body) <= 4096
        and answer.body.isascii()
    )


def enrollment(**changes: Any) -> bytes:
    """Return a valid request body with some members changed."""
    return json.dumps({"csr": factories.pem(factories.csr(factories.ec_key()))} | changes).encode()


Issue = Callable[[Authority, str, PrivateKey], x509.Certificate]


@dataclass(frozen=True)
class Certificate:
    """A bootstrap certificate that is wrong in one way, and the codes that it may be refused with.

    Where OpenSSL may refuse it in the handshake, its release decides whether it does.
    """

    issue: Issue
    outcomes: set[str]
    key: Callable[[], PrivateKey] = factories.ec_key


def _under(authority: Authority) -> Issue:
    return lambda _, name, key: authority.issue(name, key)


def _with(**options: Any) -> Issue:
    return lambda factory, name, key: factory.issue(name, key, **options)


def _twin(factory: Authority, name: str, key: PrivateKey) -> x509.Certificate:
    """Issue a certificate by a CA that has the factory CA's name and another key."""
    subject = factory.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    return factories.authority(str(subject)).issue(name, key)


def _weak() -> PrivateKey:
    return factories.rsa_key(1024)


def _odd() -> PrivateKey:
    return factories.ec_key(ec.SECP256K1())


CERTIFICATES = {
    "rogue-chain": Certificate(_under(factories.authority("Rogue")), {HANDSHAKE}),
    "twin-of-the-factory-s-ca": Certificate(_twin, {HANDSHAKE}),
    "self-signed": Certificate(lambda _, name, key: factories.authority(name, key).certificate, {HANDSHAKE}),
    "expired": Certificate(_with(not_before=LONG_AGO, days=1), {HANDSHAKE}),
    "not-yet-valid": Certificate(_with(not_before=LATER), {HANDSHAKE}),
    "wrong-eku": Certificate(
        _with(eku=ExtendedKeyUsageOID.SERVER_AUTH), {HANDSHAKE, "certificate-usage-wrong"}
    ),
    "ca-as-a-leaf": Certificate(_with(ca=True), {HANDSHAKE, "certificate-usage-wrong"}),
    "weak-key": Certificate(_with(), {HANDSHAKE, "certificate-key-weak"}, _weak),
    "odd-curve": Certificate(_with(), {HANDSHAKE, "certificate-key-weak"}, _odd),
    "odd-name": Certificate(lambda f, name, key: f.issue(f"{name}*", key), {"device-id-invalid"}),
}


@pytest.mark.parametrize("case", CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_bad_bootstrap_certificate_enrolls_no_device(
    cloud: Cloud, tmp_path: Path, case: Certificate
) -> None:
    """A bad bootstrap certificate is refused, and nothing is written under the name in it."""
    name, key = fresh_name(), case.key()
    identity = save(tmp_path, case.issue(cloud.factory, name, key), key)
    assert code(cloud, identity, "POST", ENROLL, enrollment()) in case.outcomes
    assert not recorded(cloud, name)
    assert issued(cloud, name) == []


def _forged() -> bytes:
    """Return a request whose CSR has the signature of another CSR."""
    first, second = (factories.csr(factories.ec_key()) for _ in range(2))
    der = first.public_bytes(Encoding.DER)
    size = len(first.signature)
    return enrollment(csr=factories.base64_text(der[:-size] + second.signature[:size].ljust(size, b"\0")))


BODIES: dict[str, tuple[int, bytes]] = {
    "malformed-json": (400, b'{"csr":'),
    "malformed-json deep": (400, b'{"csr":' + b"[" * 8_000),
    "malformed-json empty": (400, b""),
    "malformed-request array": (400, b"[]"),
    "malformed-request member": (400, enrollment(role="admin")),
    "malformed-json utf-16": (400, enrollment().decode().encode("utf-16")),
    "malformed-csr pem": (400, enrollment(csr="-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n")),
    "malformed-csr der": (400, enrollment(csr="MIIBAA==")),
    "malformed-csr base64": (400, enrollment(csr="%%%")),
    "csr-signature-invalid": (400, _forged()),
    "csr-key-refused weak": (400, enrollment(csr=factories.pem(factories.csr(_weak())))),
    "csr-key-refused curve": (400, enrollment(csr=factories.pem(factories.csr(_odd())))),
    "device-id-mismatch": (403, enrollment(deviceId="gw-another")),
    "body-too-large": (413, enrollment(claims={"a": "x" * 20_000})),
}


@pytest.fixture(scope="module")
def factory_fresh(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Identity]:
    """The name and the bootstrap identity of a device that was never enrolled."""
    name = fresh_name()
    return name, cloud.bootstrap(name, tmp_path_factory.mktemp("fresh"))


@pytest.mark.parametrize("wanted", BODIES)
def test_a_bad_body_enrolls_no_device(cloud: Cloud, factory_fresh: tuple[str, Identity], wanted: str) -> None:
    """A bad body is refused with its status and code, and nothing is written."""
    name, identity = factory_fresh
    status, body = BODIES[wanted]
    answer = ask(cloud, identity, "POST", ENROLL, body)
    assert is_a_problem(answer)
    assert (answer.status, answer.members["code"]) == (status, wanted.partition(" ")[0])
    assert not recorded(cloud, name)
    assert issued(cloud, name) == []


def test_another_media_type_is_refused(cloud: Cloud, factory_fresh: tuple[str, Identity]) -> None:
    """A body of another media type than JSON is refused."""
    form = "application/x-www-form-urlencoded"
    answer = ask(cloud, factory_fresh[1], "POST", ENROLL, enrollment(), form)
    assert (answer.status, answer.members["code"]) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("method", "path", "status", "wanted", "allow"),
    [
        ("GET", "/", 404, "route-not-found", None),
        ("GET", "/v1/../healthz", 404, "route-not-found", None),
        ("GET", "/v1/certificates", 405, "method-not-allowed", "POST"),
        ("DELETE", "/v1/device", 405, "method-not-allowed", "GET"),
        ("POST", CREDENTIALS, 405, "method-not-allowed", "GET"),
    ],
)
def test_unknown_routes_and_methods(
    cloud: Cloud,
    factory_fresh: tuple[str, Identity],
    method: str,
    path: str,
    status: int,
    wanted: str,
    allow: str | None,
) -> None:
    """An unknown path is 404, and a known path with another method is 405 with the allowed methods."""
    answer = ask(cloud, factory_fresh[1], method, path)
    assert is_a_problem(answer)
    assert (answer.status, answer.members["code"], answer.headers.get("allow")) == (status, wanted, allow)


@pytest.fixture(scope="module")
def device(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A device that has booted."""
    device = Device(cloud, fresh_name(), tmp_path_factory.mktemp("device"))
    device.boot()
    return device


def test_a_factory_certificate_does_not_log_in(device: Device) -> None:
    """Calls other than an enrollment are refused for a bootstrap certificate."""
    bootstrap = device.folder / "bootstrap.pem", device.folder / "bootstrap.key"
    for method, path in (("POST", COMMIT), ("GET", DEVICE)):
        assert code(device.cloud, bootstrap, method, path) == "operational-certificate-required"


def test_a_factory_certificate_gets_no_credentials(device: Device) -> None:
    """A bootstrap certificate gets no credentials, and the refusal has AWS IoT's shape."""
    bootstrap = device.folder / "bootstrap.pem", device.folder / "bootstrap.key"
    answer = ask(device.cloud, bootstrap, "GET", CREDENTIALS)
    assert answer.status == 403
    assert answer.members == {"message": "Certificate is invalid on this endpoint"}
    assert answer.headers["x-amzn-errortype"] == "AccessDeniedException"


def test_a_key_certifies_one_device(device: Device, tmp_path: Path) -> None:
    """A device that asks for a certificate for another device's key is refused."""
    key: Any = load_pem_private_key(device.identity[1].read_bytes(), password=None)
    name = fresh_name()
    other = device.cloud.bootstrap(name, tmp_path)
    body = enrollment(csr=factories.pem(factories.csr(key)))
    assert code(device.cloud, other, "POST", ENROLL, body) == "key-in-use"
    assert not recorded(device.cloud, name)


def test_nothing_secret_is_in_a_log(cloud: Cloud, tmp_path: Path) -> None:
    """No secret of an answer or a request is in a function's log, after success or failure."""
    identity = cloud.bootstrap(fresh_name(), tmp_path)
    key = factories.ec_key()
    body = enrollment(csr=factories.pem(factories.csr(key)))
    enrolled = ask(cloud, identity, "POST", ENROLL, body)
    device = Device(cloud, fresh_name(), tmp_path / "other")
    device.boot()
    vended = ask(cloud, device.identity, "GET", CREDENTIALS).members["credentials"]
    leaked = factories.key_pem(key).splitlines()[1]
    code(cloud, identity, "POST", ENROLL, enrollment(csr=factories.key_pem(key)))
    signature = parse_qs(urlsplit(enrolled.members["certificateUrl"]).query)["X-Amz-Signature"][0]
    logged = everything_logged(cloud)
    assert "certificate issued" in logged
    assert "credentials vended" in logged
    secrets = [signature, vended["secretAccessKey"], vended["sessionToken"], leaked]
    assert [secret for secret in [*secrets, "PRIVATE KEY", "X-Amz-Signature"] if secret in logged] == []


def everything_logged(cloud: Cloud) -> str:
    """Return all log lines of all functions so far."""
    logs = client(cloud, "logs")
    groups = [g["logGroupName"] for g in logs.describe_log_groups()["logGroups"]]
    pages = logs.get_paginator("filter_log_events")
    events = [e for group in groups for page in pages.paginate(logGroupName=group) for e in page["events"]]
    return "\n".join(event["message"] for event in events)
