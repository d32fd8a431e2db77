"""`POST /v1/certificates` and `…/commit`: their bodies, in and out."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain.clock import epoch, iso
from firstboot.domain.device import Attribute
from firstboot.domain.errors import BodyTooLarge, MalformedJson, MalformedRequest, UnsupportedMediaType
from firstboot.domain.names import DeviceId
from firstboot.domain.ports import CertificateStore
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issued
from firstboot.identity.login import VerifiedIdentity
from firstboot.pki import chain, csr
from firstboot.runtime.http import MAX_BODY, RETRY_SECONDS, readiness, spread

MAX_CLAIMS = 16
MAX_CLAIM = 256
URL_SECONDS = 300

Deliver = Literal["url", "inline"]
_MEMBERS = {"csr", "deviceId", "claims", "deliver", "configuration"}


@dataclass(frozen=True)
class Body:
    """A request as sent: what the use case takes, and how the answer is to come; `configuration`:
    with the group's.
    """

    request: ExchangeRequest
    deliver: Deliver
    configuration: bool = False


@dataclass(frozen=True)
class Mqtt:
    """Where AWS IoT listens."""

    host: str
    port: int


def parse(body: str | None, content_type: str, query: dict[str, str], *, encoded: bool) -> Body:
    """Read a request. `encoded` says that the gateway base64-encoded the body.

    Raises BodyTooLarge, UnsupportedMediaType, MalformedJson, MalformedRequest, MalformedCsr.
    """
    text = _text(body or "", encoded=encoded)
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/pkcs10":
        return Body(ExchangeRequest(csr.parse(text), query.get("deviceId")), "url")
    if kind not in ("", "application/json"):
        raise UnsupportedMediaType
    return _json(text)


def _text(body: str, *, encoded: bool) -> str:
    if len(body) > MAX_BODY:
        raise BodyTooLarge(f"A request has at most {MAX_BODY} bytes")
    try:
        return base64.b64decode(body, validate=True).decode() if encoded else body
    except ValueError as error:
        raise MalformedRequest("The body is not text", log=repr(error)) from error


def _json(text: str) -> Body:
    try:
        members = json.loads(text)
    except (ValueError, RecursionError) as error:  # a nested bomb exhausts the stack, not us
        raise MalformedJson(log=repr(error)[:200]) from error
    return from_members(members)


def from_members(members: object) -> Body:
    """Read a request's JSON value.

    Raises MalformedRequest, MalformedCsr.
    """
    if not isinstance(members, dict) or not isinstance(members.get("csr"), str):
        raise MalformedRequest("An object with a string member `csr` is expected")
    if unknown := set(members) - _MEMBERS:
        raise MalformedRequest(f"Unknown member {min(unknown)[:40]!a}")
    deliver, named = members.get("deliver", "url"), members.get("deviceId")
    if deliver not in ("url", "inline"):
        raise MalformedRequest("`deliver` is `url` or `inline`")
    if named is not None and not isinstance(named, str):
        raise MalformedRequest("`deviceId` is a string")
    configuration = members.get("configuration", False)
    if not isinstance(configuration, bool):
        raise MalformedRequest("`configuration` is a boolean")
    claims = _claims(members.get("claims", {}))
    return Body(ExchangeRequest(csr.parse(members["csr"]), named, claims), deliver, configuration)


def _claims(claims: object) -> dict[str, Attribute]:
    if not isinstance(claims, dict) or len(claims) > MAX_CLAIMS:
        raise MalformedRequest(f"`claims` is an object of at most {MAX_CLAIMS} members")
    for name, value in claims.items():
        fits = isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**53)
        if not fits or not name or len(f"{name}{value}") > MAX_CLAIM:
            raise MalformedRequest(f"A claim is a short string, a boolean or an integer: {name[:40]!a}")
    return claims


def issued(
    outcome: Issued, body: Body, mqtt: Mqtt, store: CertificateStore, now: datetime, seconds: int
) -> dict[str, Any]:
    """The 201 body of a stored certificate, as `body` asks for it; AWS IoT may know the certificate in
    `seconds`.
    """
    record, device_id = outcome.record, outcome.device_id
    leaf, *chain_above = outcome.certificates
    return {
        "deviceId": device_id,
        "certificateId": chain.fingerprint(leaf),
        "serial": record.serial,
        **(
            _inline(leaf, chain_above)
            if body.deliver == "inline"
            else _url(device_id, record.serial, store, now)
        ),
        "notAfter": iso(record.not_after),
        "renewAfter": iso(record.renew_after),
        "renewIn": max(0, epoch(record.renew_after) - epoch(now)),
        "mqtt": {
            "host": mqtt.host,
            "port": mqtt.port,
            "clientId": device_id,
            **readiness(device_id, seconds, ready=outcome.ready),
        },
        **({"configuration": outcome.group.configuration} if body.configuration else {}),
    }


def _url(device_id: DeviceId, serial: str, store: CertificateStore, now: datetime) -> dict[str, Any]:
    return {
        "certificateUrl": store.url(device_id, serial, URL_SECONDS),
        "urlExpiresAt": iso(now + timedelta(seconds=URL_SECONDS)),
        "urlExpiresIn": URL_SECONDS,
    }


def _inline(leaf: x509.Certificate, above: list[x509.Certificate]) -> dict[str, Any]:
    return {"certificate": _base64(leaf), "chain": [_base64(certificate) for certificate in above]}


def _base64(certificate: x509.Certificate) -> str:
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def claimed(outcome: Claimed) -> dict[str, Any]:
    """The 202 body: the intent is recorded, the certificate not yet issued."""
    return {"deviceId": outcome.device_id, "retryAfter": spread(RETRY_SECONDS, outcome.device_id)}


def committed(identity: VerifiedIdentity) -> dict[str, Any]:
    """The 200 body of a commit."""
    return {
        "deviceId": identity.device.device_id,
        "certificateId": identity.certificate_id,
        "status": "active",
    }
