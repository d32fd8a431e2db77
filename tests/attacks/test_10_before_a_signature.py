"""Callers without a valid certificate, proof or token try to make the service work for them.

The callers are on both hosts, at the broker and at the custom authorizer. What counts is what leaves the
process: before a signature is verified, a request makes one GetItem at most (a proof may name its certificate
by its thumbprint) and no write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.aws import clients
from firstboot.domain import topics
from firstboot.pki import nonce
from tests import factories
from tests.aws import test_assign
from tests.aws.deployed import ACCOUNT
from tests.aws.mqtt import Client
from tests.aws.product import HOST, Answer, Product
from tests.aws.test_assign import REFUSED, Broker
from tests.issuers import AUDIENCE, Issuer

broker = test_assign.broker
PATH = "/v1/certificates"
READ, FETCHED, ANSWERED = "dynamodb.GetItem", "s3.GetObject", "iot-data-plane.Publish"
CALLS = [
    ("POST", PATH),
    ("POST", f"{PATH}/commit"),
    ("GET", "/v1/device"),
    ("GET", "/role-aliases/telemetry/credentials"),
]


@dataclass
class Wire:
    """The AWS requests that left the process, retries included."""

    sent: list[str] = field(default_factory=list)

    def __call__(self, event_name: str, **_: Any) -> None:
        """Record a request. botocore calls this right before it sends the request."""
        self.sent.append(event_name.removeprefix("before-send."))

    def take(self) -> list[str]:
        """Return the requests since the last `take`."""
        sent, self.sent = self.sent, []
        return sent


@pytest.fixture
def wire(product: Product) -> Iterator[Wire]:
    """Yield the record of every AWS request of the functions."""
    found = Wire()
    made: list[Any] = [
        clients.dynamodb(),
        clients.s3(ACCOUNT),
        clients.kms(),
        clients.sts(),
        clients.iot_data(),
    ]
    for client in made:
        client.meta.events.register_first("before-send", found)
    yield found
    for client in made:
        client.meta.events.unregister("before-send", found)


@dataclass
class Attack:
    """An attacker with a device's certificates, which are no secret, and with a key and a CA of its own."""

    product: Product
    bootstrap: x509.Certificate
    device: x509.Certificate
    key: factories.PrivateKey = field(default_factory=factories.ec_key)
    ca: factories.Authority = field(default_factory=lambda: factories.authority("Factory CA"))

    def own(self, issuer: x509.Name | None = None) -> x509.Certificate:
        """Return a certificate of the attacker's CA, or of one that it gives another CA's name."""
        ca = factories.authority(issuer.rfc4514_string().removeprefix("CN=")) if issuer else self.ca
        return ca.issue("gw-1", self.key)

    def prove(self, method: str, path: str, leaf: x509.Certificate, **changes: Any) -> Answer:
        """Call with a proof that the attacker's key signed."""
        return self.product.prove(method, path, self.key, leaf, _body(path), **changes)

    def connect(self, method: str, path: str, leaf: x509.Certificate | str) -> Answer:
        """Call as if the gateway had verified the certificate."""
        return self.product.call(method, path, leaf, _body(path))

    def show(self, method: str, path: str, authorization: str) -> Answer:
        """Call with this header."""
        headers = {"content-type": "application/json", "authorization": authorization}
        return self.product.call(method, path, None, _body(path), headers)


def _body(path: str) -> str | None:
    return json.dumps({"csr": factories.pem(factories.csr(factories.ec_key()))}) if path == PATH else None


@pytest.fixture
def attack(product: Product) -> Attack:
    """Return an attacker of a device that is enrolled, in processes that have answered before."""
    key = factories.ec_key()
    bootstrap = product.factory.issue("gw-1", key)
    own = factories.ec_key()
    body = json.dumps({"csr": factories.pem(factories.csr(own))})
    leaf = product.certificate(product.prove("POST", PATH, key, bootstrap, body))
    assert product.prove("GET", "/v1/device", own, leaf).status == 200
    assert product.prove("GET", "/v1/device", own, leaf, claims={"iat": 1}).body["nonce"]
    assert product.call("GET", "/v1/nonce").status == 200
    product.warm_exchange()
    return Attack(product, bootstrap, leaf)


def _stale(attack: Attack) -> dict[str, Any]:
    return {"iat": None, "nonce": nonce.make(b"x" * nonce.KEY_BYTES, datetime.now(UTC))}


Try = Callable[[Attack, str, str], Answer]
UNVERIFIED: dict[str, Try] = {
    "nothing": lambda a, m, p: a.product.call(m, p, None, _body(p)),
    "text": lambda a, m, p: a.show(m, p, "Bearer x"),
    "long-text": lambda a, m, p: a.show(m, p, f"Bearer {'x' * 9_000}"),
    "another-scheme": lambda a, m, p: a.show(m, p, "Basic eDp4"),
    "own-ca": lambda a, m, p: a.prove(m, p, a.own()),
    "factory-s-name": lambda a, m, p: a.prove(m, p, a.own(a.product.factory.certificate.subject)),
    "our-ca-s-name": lambda a, m, p: a.prove(m, p, a.own(a.product.ca.subject)),
    "own-ca-with-its-chain": lambda a, m, p: a.prove(m, p, a.own(), above=(a.ca.certificate,)),
    "a-device-s-certificate": lambda a, m, p: a.prove(m, p, a.device),
    "a-device-s-bootstrap-certificate": lambda a, m, p: a.prove(m, p, a.bootstrap),
    "an-old-time": lambda a, m, p: a.prove(m, p, a.own(), claims={"iat": 1}),
    "a-forged-nonce": lambda a, m, p: a.prove(m, p, a.own(), claims=_stale(a)),
    "no-nonce": lambda a, m, p: a.prove(m, p, a.own(), claims={"iat": None, "nonce": "x"}),
    "another-host": lambda a, m, p: a.prove(m, p, a.own(), claims={"htu": f"https://x{HOST}{p}"}),
    "mtls-own-ca": lambda a, m, p: a.connect(m, p, a.own()),
    "mtls-factory-s-name": lambda a, m, p: a.connect(m, p, a.own(a.product.factory.certificate.subject)),
    "mtls-our-ca-s-name": lambda a, m, p: a.connect(m, p, a.own(a.product.ca.subject)),
    "mtls-text": lambda a, m, p: a.connect(m, p, "x"),
}


@pytest.mark.parametrize("attempt", UNVERIFIED)
@pytest.mark.parametrize(("method", "path"), CALLS, ids=["exchange", "commit", "record", "credentials"])
def test_nothing_is_asked_for_an_unverified_caller(
    attack: Attack, wire: Wire, method: str, path: str, attempt: str
) -> None:
    """A call without a verified certificate is refused without any request to AWS."""
    answer = UNVERIFIED[attempt](attack, method, path)
    assert answer.status in (401, 403), answer.body
    assert wire.take() == []


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize(("method", "path"), CALLS, ids=["exchange", "commit", "record", "credentials"])
def test_a_thumbprint_costs_one_read(
    attack: Attack, wire: Wire, method: str, path: str, *, known: bool
) -> None:
    """A proof that names its certificate by thumbprint is refused after one read of the table."""
    leaf = attack.device if known else attack.own()
    answer = attack.prove(method, path, leaf, by_thumbprint=True)
    assert answer.status == 401
    assert wire.take() == [READ]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/nonce"), ("GET", "/healthz"), ("GET", "/"), ("PUT", PATH), ("POST", "/v1/device")],
)
def test_a_call_without_a_proof_costs_nothing(attack: Attack, wire: Wire, method: str, path: str) -> None:
    """The calls that need no proof, other paths and other methods make no request to AWS."""
    assert attack.product.call(method, path).status in (200, 404, 405)
    assert wire.take() == []


@pytest.mark.parametrize("attempt", [*UNVERIFIED, "nonce"])
def test_a_new_process_reads_and_writes_nothing(
    attack: Attack, wire: Wire, product: Product, attempt: str
) -> None:
    """A process's first call may also read the published fleet and the nonces' key, and writes nothing."""
    product.lambdas.restart_readers()
    if attempt == "nonce":
        product.call("GET", "/v1/nonce")
    else:
        UNVERIFIED[attempt](attack, "POST", PATH)
    sent = wire.take()
    assert set(sent) <= {READ, FETCHED}
    assert len(sent) <= 2


def _at_the_broker(attack: Attack) -> Client:
    """Return a client with a certificate that AWS IoT knows from another team, under a device's id."""
    return Client(attack.product, "gw-1", attack.own(), attack.key)


@pytest.mark.parametrize(
    ("call", "members"),
    [
        (topics.CERTIFICATES, {"bootstrap": "x"}),
        (topics.CERTIFICATES, {"bootstrap": "of-the-device"}),
        (topics.CERTIFICATES, {"bootstrap": "own"}),
        (topics.CERTIFICATES, {}),
        (topics.COMMIT, {}),
        (topics.CREDENTIALS, {"roleAlias": "telemetry"}),
    ],
    ids=["text", "another-s", "own", "renewal", "commit", "credentials"],
)
@pytest.mark.parametrize("pending", [False, True], ids=["active", "pending"])
def test_a_stranger_at_the_broker_costs_one_read(
    attack: Attack, wire: Wire, call: topics.Call, members: dict[str, str], *, pending: bool
) -> None:
    """A client with a certificate of others costs one GetItem at most, and is answered by one message.

    AWS IoT has verified that it holds the key. The certificate of a pending renewal has no recorded id yet,
    so the stored one is fetched to compare its id.
    """
    if pending:
        assert attack.product.enroll(attack.device).status == 201
    client = _at_the_broker(attack)
    own = factories.base64_text(client.leaf.public_bytes(Encoding.DER))
    client.refused(topics.CERTIFICATES, {"csr": client.csr(), "bootstrap": own})  # reads the fleet
    wire.take()
    shown = {"of-the-device": attack.bootstrap, "own": client.leaf}
    asked: dict[str, Any] = dict(members)
    if "bootstrap" in members:
        leaf = shown.get(members["bootstrap"])
        asked["bootstrap"] = factories.base64_text(leaf.public_bytes(Encoding.DER)) if leaf else "x"
    if call is topics.CERTIFICATES:
        asked["csr"] = client.csr()
    client.refused(call, asked)
    sent = wire.take()
    assert sent.count(READ) <= 1
    assert sent.count(FETCHED) <= int(pending)
    assert set(sent) <= {READ, FETCHED, ANSWERED}
    assert sent.count(ANSWERED) == 1


@pytest.mark.parametrize(
    "attempt", ["text", "unknown-issuer", "another-s-key", "another-audience", "expired"]
)
def test_a_token_costs_no_read(broker: Broker, attempt: str) -> None:
    """The custom authorizer asks AWS for nothing before a token is verified."""
    assert broker.ask(broker.token())["isAuthenticated"]
    wire, stranger = Wire(), Issuer()
    tokens: dict[str, Callable[[], str]] = {
        "text": lambda: "x",
        "unknown-issuer": lambda: broker.token(iss="https://evil.example"),
        "another-s-key": lambda: stranger.token(now=datetime.now(UTC)),
        "another-audience": lambda: broker.token(aud=f"{AUDIENCE}2"),
        "expired": lambda: broker.token(exp=1),
    }
    made: list[Any] = [clients.dynamodb(), clients.s3(ACCOUNT)]
    for client in made:
        client.meta.events.register_first("before-send", wire)
    assert broker.ask(tokens[attempt]()) == REFUSED
    assert wire.take() == []
