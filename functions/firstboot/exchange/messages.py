"""The wire format of exchange: requests and answers of `POST /v1/certificates` and `…/commit`.

The same members go over HTTPS and MQTT.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import UNSET, Meta, UnsetType, field

from firstboot.exchange.errors import UnsupportedMediaType
from firstboot.exchange.issue import ExchangeRequest
from firstboot.pki import csr
from firstboot.runtime.errors import BodyTooLarge, MalformedRequest
from firstboot.runtime.http import MAX_BODY
from firstboot.runtime.messages import Answer, Request, convert, parse_json

LONGEST_CLAIM = 256
"""Characters of a claim's name and value together."""

Deliver = Literal["url", "inline"]
ClaimName = Annotated[str, Meta(min_length=1, max_length=LONGEST_CLAIM)]
# Whole numbers in this range are the same in every JSON reader (RFC 8259 section 6).
ClaimValue = str | bool | Annotated[int, Meta(gt=-(2**53), lt=2**53)]
Claims = Annotated[dict[ClaimName, ClaimValue], Meta(max_length=16)]


class CertificateRequest(Request, frozen=True, kw_only=True):
    """A request for a certificate.

    `csr` is PEM, or base64 of the DER. `device_id` and `claims` are what the device says of itself.
    `deliver` chooses a URL of the certificate or the certificate itself. With `configuration` the answer
    has the group's configuration.
    """

    csr: str
    device_id: str | None = None
    claims: Claims = field(default_factory=dict)
    deliver: Deliver = "url"
    configuration: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a claim that is too long."""
        for name, value in self.claims.items():
            if len(f"{name}{value}") > LONGEST_CLAIM:
                raise ValueError(
                    f"Claim {name[:40]} has more than {LONGEST_CLAIM} characters, name and value"
                )


class MqttCertificateRequest(CertificateRequest, frozen=True, kw_only=True):
    """The same over MQTT.

    `bootstrap` is the bootstrap certificate in PEM or base64 of its DER; without it, the certificate is
    the one that the device's record knows.
    """

    bootstrap: str | None = None


@dataclass(frozen=True)
class Asked:
    """A request as read: what the use case takes, and how the answer is to come."""

    request: ExchangeRequest
    deliver: Deliver = "url"
    configuration: bool = False


def read(body: bytes, content_type: str, query: Mapping[str, str]) -> Asked:
    """Read the body of an HTTPS request: JSON, or a CSR alone (`application/pkcs10`, RFC 5967).

    Raises BodyTooLarge, UnsupportedMediaType, MalformedJson, MalformedRequest, MalformedCsr.
    """
    if len(body) > MAX_BODY:
        raise BodyTooLarge(f"A request has at most {MAX_BODY} bytes")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/pkcs10":
        return Asked(ExchangeRequest(csr.parse(_text(body)), query.get("deviceId")))
    if kind not in ("", "application/json"):
        raise UnsupportedMediaType
    return asked(convert(CertificateRequest, parse_json(body)))


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except ValueError as error:
        raise MalformedRequest("The body is not text", log=repr(error)) from error


def asked(request: CertificateRequest) -> Asked:
    """Return what a request's members ask for.

    Raises MalformedCsr.
    """
    wanted = ExchangeRequest(csr.parse(request.csr), request.device_id, request.claims)
    return Asked(wanted, request.deliver, request.configuration)


class MqttAddress(Answer, frozen=True, kw_only=True):
    """Where the device connects to AWS IoT, and whether AWS IoT knows its certificate yet.

    If not, `retry_after` is the seconds after which the device looks again.
    """

    host: str
    port: int
    client_id: str
    ready: bool
    retry_after: int


class CertificateAnswer(Answer, frozen=True, kw_only=True):
    """The 201 answer. A certificate comes by URL or inline as base64 of the DER, as the request chose."""

    device_id: str
    certificate_id: str
    serial: str
    certificate_url: str | UnsetType = UNSET
    url_expires_at: str | UnsetType = UNSET
    url_expires_in: int | UnsetType = UNSET
    certificate: str | UnsetType = UNSET
    chain: list[str] | UnsetType = UNSET
    not_after: str
    renew_after: str
    renew_in: int
    mqtt: MqttAddress
    configuration: dict[str, Any] | UnsetType = UNSET


class DelayedAnswer(Answer, frozen=True, kw_only=True):
    """The 202 answer: the intent is recorded, the certificate is not issued yet."""

    device_id: str
    retry_after: int


class CommitAnswer(Answer, frozen=True, kw_only=True):
    """The 200 answer to a commit."""

    device_id: str
    certificate_id: str
    status: Literal["active"] = "active"


class NonceAnswer(Answer, frozen=True, kw_only=True):
    """The 200 answer with a nonce for the next signed proof."""

    nonce: str


class HealthAnswer(Answer, frozen=True, kw_only=True):
    """The 200 answer that the service works."""

    status: Literal["ok"] = "ok"


def base64_der(certificate: x509.Certificate) -> str:
    """Return a certificate as base64 of its DER."""
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
