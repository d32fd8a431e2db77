"""The wire format of exchange: requests and answers of `POST /v1/certificates` and `…/commit`.

HTTPS and MQTT have the same members. A request with a member that is not declared here is refused: ignoring a
misspelt member would do something else than was asked.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import UNSET, Meta, UnsetType

from firstboot.exchange.errors import UnsupportedMediaType
from firstboot.exchange.issue import ExchangeRequest
from firstboot.pki import csr
from firstboot.runtime.errors import BodyTooLarge
from firstboot.runtime.http import MAX_BODY, media_type
from firstboot.runtime.messages import Answer, Request, Time, convert, parse_json

LONGEST_CLAIM = 256
"""The most characters that a claim's name and value have together."""

MOST_CLAIMS = 16

PKCS10 = "application/pkcs10"
Deliver = Literal["url", "inline"]
_CLAIM_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
ClaimName = Annotated[str, Meta(extra_json_schema={"pattern": f"^{_CLAIM_NAME.pattern}$"})]
# All JSON readers agree on whole numbers in this range (RFC 8259 section 6).
ClaimValue = str | bool | Annotated[int, Meta(gt=-(2**53), lt=2**53)]
Claims = Annotated[dict[ClaimName, ClaimValue], Meta(max_length=MOST_CLAIMS)]


class CertificateRequest(Request, frozen=True, kw_only=True):
    """A request for a certificate."""

    csr: Annotated[
        str,
        Meta(
            description="A certificate request: PEM, or base64 of the DER. Its key is P-256, P-384, or RSA of"
            " 2,048 to 4,096 bits. Firstboot ignores its subject and extensions and decides those of the"
            " certificate"
        ),
    ]
    device_id: Annotated[
        str | None,
        Meta(
            description="The device's id. Required with a claim certificate that many devices share: the"
            " operator has named the device beforehand (`console groups expect`). With a certificate that"
            " names the device it must be absent or the same"
        ),
    ] = None
    claims: (
        Annotated[
            Claims,
            Meta(
                description="Statements of the device about itself: at most 16 strings, booleans or"
                f" integers, {LONGEST_CLAIM} characters each with its name. A name has 1 to 64 letters,"
                " digits, `_`, `.` or `-` of ASCII. Rules see claims apart from attributes. They replace the"
                " recorded claims at the certificate's first login. Without this member the recorded claims"
                " stay; `{}` removes them"
            ),
        ]
        | UnsetType
    ) = UNSET
    deliver: Annotated[
        Deliver, Meta(description="How the certificate is delivered: by `url`, or `inline` in the answer")
    ] = "url"
    configuration: Annotated[
        bool, Meta(description="Whether the answer includes the group's configuration")
    ] = False

    def __post_init__(self) -> None:
        """Raise ValueError for a claim that is too long, or whose name has another character."""
        check_claims(self.claims or {})


def check_claims(claims: Mapping[str, ClaimValue]) -> None:
    """Raise ValueError for too many claims, one that is too long, or one whose name has another character."""
    if len(claims) > MOST_CLAIMS:
        raise ValueError(f"There are more than {MOST_CLAIMS} claims")
    for name, value in claims.items():
        # `fullmatch`, because the `$` of a pattern also matches before a line feed at the end.
        if not _CLAIM_NAME.fullmatch(name):
            raise ValueError("The name of a claim has 1 to 64 letters, digits, `_`, `.` or `-` of ASCII")
        if len(f"{name}{value}") > LONGEST_CLAIM:
            raise ValueError(f"Claim {name[:40]} has more than {LONGEST_CLAIM} characters, name and value")


class _Named(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a request that names the device. This struct ignores the other members."""

    device_id: str | None = None


class MqttCertificateRequest(CertificateRequest, frozen=True, kw_only=True):
    """A request for a certificate over MQTT."""

    bootstrap: Annotated[
        str | None,
        Meta(
            description="The bootstrap certificate of the connection: PEM, or base64 of the DER. Without it,"
            " the request is a renewal with the operational certificate of the connection"
        ),
    ] = None


@dataclass(frozen=True)
class Asked:
    """A parsed request: the use case's input, and the form of the answer."""

    request: ExchangeRequest
    deliver: Deliver = "url"
    configuration: bool = False


def read(body: bytes, content_type: str, query: Mapping[str, str]) -> Asked:
    """Return the request in an HTTPS body: JSON, or a CSR alone (`application/pkcs10`, RFC 5967).

    The CSR is DER, base64 of it, or PEM.
    Raises BodyTooLarge, UnsupportedMediaType, MalformedJson, MalformedRequest, MalformedCsr.
    """
    _check_size(body)
    kind = media_type(content_type)
    if kind == PKCS10:
        return Asked(ExchangeRequest(any_csr(body), query.get("deviceId")))
    if kind not in ("", "application/json"):
        raise UnsupportedMediaType
    return asked(convert(CertificateRequest, parse_json(body)))


def said(body: bytes, content_type: str, query: Mapping[str, str]) -> str | None:
    """Return the device id in a request as `read` finds it, without a look at its other members.

    Return None if there is none, or if the body cannot be read.
    """
    if media_type(content_type) == PKCS10:
        return query.get("deviceId")
    try:
        return msgspec.json.decode(body, type=_Named).device_id if len(body) <= MAX_BODY else None
    except (ValueError, RecursionError):
        return None


def _check_size(body: bytes) -> None:
    if len(body) > MAX_BODY:
        raise BodyTooLarge(f"A request has at most {MAX_BODY} bytes")


def any_csr(body: bytes) -> csr.UnverifiedCsr:
    """Return the CSR in a body that has nothing else: DER, base64 of it, or PEM.

    Raises BodyTooLarge, MalformedCsr.
    """
    _check_size(body)
    # RFC 5967 says DER, and many clients send text. A CSR has over 127 bytes, so in DER its length takes the
    # long form, whose first octet begins no character of UTF-8.
    if body.startswith((b"\x30\x81", b"\x30\x82")):
        return csr.parse_der(body)
    # The text before a PEM block may be in any encoding (RFC 7468 section 2). The block itself is ASCII.
    return csr.parse(body.decode("latin-1"))


def asked(request: CertificateRequest) -> Asked:
    """Return the parsed request that a request's members describe.

    Raises MalformedCsr.
    """
    claims = None if request.claims is UNSET else request.claims
    wanted = ExchangeRequest(csr.parse(request.csr), request.device_id, claims)
    return Asked(wanted, request.deliver, request.configuration)


class MqttAddress(Answer, frozen=True, kw_only=True):
    """AWS IoT's address for the device, and whether AWS IoT knows its certificate yet."""

    host: Annotated[str, Meta(description="AWS IoT's data endpoint")]
    port: Annotated[int, Meta(description="The port for TLS with a client certificate")]
    client_id: Annotated[str, Meta(description="The client id to connect with: the device's id")]
    ready: Annotated[bool, Meta(description="Whether AWS IoT knows the certificate")]
    retry_after: Annotated[int, Meta(description="Seconds after which the device asks again; 0 if ready")]


class CertificateAnswer(Answer, frozen=True, kw_only=True):
    """The answer with a certificate that is issued and stored."""

    device_id: Annotated[str, Meta(description="The device's id, thing name and MQTT client id")]
    certificate_id: Annotated[str, Meta(description="SHA-256 of the certificate's DER, in hex, as AWS IoT's")]
    serial: Annotated[str, Meta(description="The certificate's serial number, in hex")]
    certificate_url: (
        Annotated[
            str,
            Meta(
                description="With `deliver: url`. The URL of the certificate and of the issuing CA's"
                " (PEM, in this order). It works without a proof: treat it as a secret"
            ),
        ]
        | UnsetType
    ) = UNSET
    url_expires_at: Annotated[Time, Meta(description="When the URL stops working")] | UnsetType = UNSET
    url_expires_in: Annotated[int, Meta(description="Seconds until the URL stops working")] | UnsetType = (
        UNSET
    )
    certificate: (
        Annotated[str, Meta(description="With `deliver: inline`. The certificate, base64 of the DER")]
        | UnsetType
    ) = UNSET
    chain: (
        Annotated[
            list[str],
            Meta(description="With `deliver: inline`. The issuing CA's certificate in the same form"),
        ]
        | UnsetType
    ) = UNSET
    not_after: Annotated[Time, Meta(description="When the certificate expires")]
    renew_after: Annotated[Time, Meta(description="When the device starts to ask for the next certificate")]
    renew_in: Annotated[int, Meta(description="Seconds until `renewAfter`; 0 if it has passed")]
    mqtt: Annotated[MqttAddress, Meta(description="AWS IoT's address, and whether it knows the device")]
    configuration: (
        Annotated[
            dict[str, Any],
            Meta(
                description="With `configuration: true`. The configuration that the group's devices start"
                " with, 1,024 bytes at most; `{}` if the group has none"
            ),
        ]
        | UnsetType
    ) = UNSET


class DelayedAnswer(Answer, frozen=True, kw_only=True):
    """The answer if the request is recorded and the certificate is not issued yet."""

    device_id: str
    retry_after: Annotated[int, Meta(description="Seconds after which the device repeats the request")]


class CommitAnswer(Answer, frozen=True, kw_only=True):
    """The answer to a login with a new certificate, which is now the active one."""

    device_id: str
    certificate_id: str
    status: Literal["active"] = "active"


class NonceAnswer(Answer, frozen=True, kw_only=True):
    """A nonce for signed proofs, valid for five minutes."""

    nonce: str


class HealthAnswer(Answer, frozen=True, kw_only=True):
    """The answer that the service works."""

    status: Literal["ok"] = "ok"


def base64_der(certificate: x509.Certificate) -> str:
    """Return a certificate as base64 of its DER."""
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
