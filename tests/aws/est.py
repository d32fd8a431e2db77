"""EST's calls of the product over moto."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from tests import factories
from tests.aws.product import CONTEXT, Product, http_event

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text())
ENROLL, REENROLL = "/.well-known/est/simpleenroll", "/.well-known/est/simplereenroll"
PKCS10 = "application/pkcs10"


@dataclass(frozen=True)
class Reply:
    """An answer to a call of EST, with header names in lower case."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def code(self) -> str:
        """The code in the text of a refusal."""
        (code,) = [line[6:] for line in self.body.splitlines() if line.startswith("code: ")]
        return code

    @property
    def certificate(self) -> x509.Certificate:
        """The only certificate in the answer."""
        assert self.status == 200, self.body
        (leaf,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(self.body, validate=True))
        return leaf


def csr(key: factories.PrivateKey | None = None, common_name: str = "ignored") -> str:
    """Return a CSR as EST's clients send it: base64 of the DER."""
    made = factories.csr(key or factories.ec_key(), common_name)
    return base64.b64encode(made.public_bytes(Encoding.DER)).decode()


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def send(
    product: Product,
    path: str,
    body: str | None = None,
    *,
    leaf: x509.Certificate | None = None,
    authorization: str | None = None,
    method: str = "POST",
    kind: str = PKCS10,
    **changes: Any,
) -> Reply:
    """Call the product's function; `leaf` is the client's certificate."""
    headers = {"content-type": kind} | ({"authorization": authorization} if authorization else {})
    event = http_event(method, path, leaf, body, headers, None) | changes
    answer = product.lambdas.exchange_http(event, CONTEXT)
    assert len(answer["body"]) <= 4_096
    lowered = {name.lower(): value for name, value in answer["headers"].items()}
    _check_documented(method, path, answer["statusCode"], lowered)
    return Reply(answer["statusCode"], lowered, answer["body"])


def _check_documented(method: str, path: str, status: int, headers: dict[str, str]) -> None:
    response = DOCUMENT["paths"][path][method.lower()]["responses"][str(int(status))]
    assert headers["content-type"] in response["content"]
    named = {name.lower() for name in response.get("headers", {})}
    assert headers.keys() - {"cache-control", "content-type"} <= named


def password(product: Product, device_id: str, group: str | None = "gateways") -> str:
    """Return a one-time password that the operator makes."""
    made = product.operate("devices.token", deviceId=device_id, **({"group": group} if group else {}))
    text: str = made["result"]["password"]
    return text
