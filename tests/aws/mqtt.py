"""AWS IoT's part in process: what the topic rules hand over, and what clients then hear."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from moto.backends import get_backend

from firstboot.domain import topics
from firstboot.pki import chain
from tests import factories
from tests.aws.product import CONTEXT, Product

ACCOUNT, REGION = "123456789012", "us-east-1"

Heard = tuple[str, dict[str, Any]]


def event(client_id: str, principal: str, topic: str, payload: bytes) -> dict[str, Any]:
    """What a rule of ours hands to a Lambda."""
    encoded = base64.b64encode(payload).decode()
    return {"payload": encoded, "clientId": client_id, "principal": principal, "topic": topic}


def published() -> list[Heard]:
    """Every message so far: topic and members."""
    return [
        (topic, json.loads(payload))
        for topic, payload in get_backend("iot-data")[ACCOUNT][REGION].published_payloads
    ]


@dataclass
class Client:
    """An MQTT client that AWS IoT has let in with a certificate."""

    product: Product
    client_id: str
    leaf: x509.Certificate
    key: factories.PrivateKey = field(default_factory=factories.ec_key)

    @property
    def principal(self) -> str:
        """What AWS IoT says of it."""
        return chain.fingerprint(self.leaf)

    def send(self, call: topics.Call, payload: bytes | dict[str, Any]) -> list[Heard]:
        """Publish a request; what the service publishes then."""
        before = len(published())
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        lambdas = self.product.lambdas
        handler = lambdas.vend_mqtt if call is topics.CREDENTIALS else lambdas.exchange_mqtt
        handler(event(self.client_id, self.principal, call.request_topic(self.client_id), raw), CONTEXT)
        return published()[before:]

    def ask(self, call: topics.Call, **members: Any) -> dict[str, Any]:
        """Publish a request that is accepted: the answer, which this client alone can hear."""
        ((topic, answer),) = self.send(call, members)
        assert topic == call.accepted_topic(self.client_id), answer
        return answer

    def refused(self, call: topics.Call, payload: bytes | dict[str, Any]) -> str:
        """Publish a request that is not: the code of the problem, which this client alone can hear."""
        ((topic, problem),) = self.send(call, payload)
        assert topic == call.rejected_topic(self.client_id), problem
        assert {"type", "title", "status", "detail", "code", "requestId", "action", "time"} <= set(problem)
        return str(problem["code"])

    def csr(self) -> str:
        """A CSR of its key, PEM."""
        return factories.pem(factories.csr(self.key))
