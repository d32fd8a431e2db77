"""The part of AWS IoT, in process: what its topic rules pass to Lambda, and what clients then receive."""

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
    """Return the event that Firstboot's topic rules pass to a Lambda function."""
    encoded = base64.b64encode(payload).decode()
    return {"payload": encoded, "clientId": client_id, "principal": principal, "topic": topic}


def published() -> list[Heard]:
    """Return every message published so far, with its topic and its members."""
    return [
        (topic, json.loads(payload))
        for topic, payload in get_backend("iot-data")[ACCOUNT][REGION].published_payloads
    ]


@dataclass
class Client:
    """An MQTT client that is connected to AWS IoT with a certificate."""

    product: Product
    client_id: str
    leaf: x509.Certificate
    key: factories.PrivateKey = field(default_factory=factories.ec_key)

    @property
    def principal(self) -> str:
        """The certificate's id, by which AWS IoT names the client."""
        return chain.fingerprint(self.leaf)

    def send(self, call: topics.Call, payload: bytes | dict[str, Any]) -> list[Heard]:
        """Publish a request, and return the messages that the service then publishes."""
        before = len(published())
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        lambdas = self.product.lambdas
        handler = lambdas.vend_mqtt if call is topics.CREDENTIALS else lambdas.exchange_mqtt
        handler(event(self.client_id, self.principal, call.request_topic(self.client_id), raw), CONTEXT)
        return published()[before:]

    def ask(self, call: topics.Call, **members: Any) -> dict[str, Any]:
        """Publish a request that must be accepted, and return the answer, which only this client receives."""
        ((topic, answer),) = self.send(call, members)
        assert topic == call.accepted_topic(self.client_id), answer
        return answer

    def refused(self, call: topics.Call, payload: bytes | dict[str, Any]) -> str:
        """Publish a request that must be refused, and return the code of the problem."""
        ((topic, problem),) = self.send(call, payload)
        assert topic == call.rejected_topic(self.client_id), problem
        assert {"type", "title", "status", "detail", "code", "requestId", "action", "time"} <= set(problem)
        return str(problem["code"])

    def csr(self) -> str:
        """Return a CSR for the client's key, in PEM."""
        return factories.pem(factories.csr(self.key))
