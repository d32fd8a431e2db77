"""The fuzz targets: each parser of bytes from outside, with the only errors that it may raise.

A parser whose input a device, a factory or an operator chooses must end in a value or in a domain error. Any
other exception is an answer 500, a poison message in a queue, or a traceback on a terminal.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.assign import authorizer
from firstboot.compiler.errors import FleetInvalid
from firstboot.compiler.fleet import compile_fleet
from firstboot.compiler.source import Source, read
from firstboot.domain.errors import FirstbootError
from firstboot.exchange import messages as exchange
from firstboot.pki import bootstrap, certificate, csr, forms, nonce, path, proof, sigv4, token
from firstboot.pki.outline import outline
from firstboot.register import jitr_messages
from firstboot.register import messages as register
from firstboot.runtime import http, mqtt
from firstboot.runtime.http import HttpRequest
from firstboot.vend import roles_anywhere
from tests import factories, signed_requests
from tests.field import corpus
from tests.fuzz.others import OTHERS
from tests.fuzz.protocols import PROTOCOLS
from tests.fuzz.target import Target, json_value, of, text

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 12, 15, 12, tzinfo=UTC)


def _verify_certificate(data: bytes) -> None:
    """Verify a certificate. A storm's refusal reads its outline, also if the rest of it is malformed."""
    found = outline(base64.b64encode(data).decode())
    if found:
        path.signed_by(found, _anchors()[0])
    leaf = certificate.parse(data)
    if found is None or (found.identifier, found.issuer_der) != (leaf.identifier, leaf.issuer_der):
        raise ValueError("the outline is not that of the certificate")
    forms.ids(leaf)
    bootstrap.verify(leaf, _anchors(), NOW, [leaf])


def _read_request(data: bytes) -> None:
    """Read a request. A storm's refusal finds the same device id in it, also if the rest is malformed."""
    said = exchange.said(data, "application/json", {})
    if said != exchange.read(data, "application/json", {}).request.device_id:
        raise ValueError("another device id is found than the request has")


def _verify_path(data: bytes) -> None:
    """Verify a good leaf with `data` as an intermediate, and as an anchor if it is fit for one."""
    other = certificate.parse(data)
    anchors = [] if bootstrap.unfit_issuer(other, is_anchor=True) else [other]
    bootstrap.verify(certificate.parse(_good_leaf()), [*anchors, *_anchors()], NOW, [other])


@cache
def _anchors() -> list[certificate.Certificate]:
    return [case.anchor() for case in corpus.cases("chain") if str(case) in ("plain-p256", "mbedtls-p256")]


@cache
def _good_leaf() -> bytes:
    (case,) = (case for case in corpus.cases("chain") if str(case) == "plain-p256")
    return case.read("leaf")


def _verify_proof(data: bytes) -> None:
    """Verify a proof whose claims are `data`, signed for real, so that the claims are looked at."""
    signed = _signed_proof(data)
    proof.verify(proof.parse(signed), _proof_leaf(), proof.Call("POST", "https://example.com/", b""))


@cache
def _proof_key() -> Any:
    return factories.ec_key()


@cache
def _proof_leaf() -> certificate.Certificate:
    leaf = factories.authority().issue("SN-1", _proof_key())
    return certificate.parse(leaf.public_bytes(Encoding.DER))


def _signed_proof(claims: bytes) -> str:
    import jwt  # noqa: PLC0415 - the one target that needs it

    x5c = [base64.b64encode(_proof_leaf().der).decode()]
    return jwt.api_jws.encode(claims, _proof_key(), "ES256", {"typ": proof.TYPE, "x5c": x5c})


def _fleet(data: bytes) -> None:
    """Compile the example's fleet with one file replaced by `data`; its first byte chooses the file."""
    files = dict(_example().files)
    names = sorted(files)
    files[names[data[0] % len(names) if data else 0]] = data[1:]
    compile_fleet(Source(files))


@cache
def _example() -> Source:
    return read(ROOT / "fleet")


def _sqs(data: bytes) -> object:
    record = {"body": text(data), "messageId": "1", "attributes": {"SentTimestamp": "1"}}
    return register.parse(record)


def _verify_signed_request(data: bytes) -> object:
    headers = json_value(data)
    if not isinstance(headers, dict) or not all(isinstance(each, str) for each in headers.values()):
        return None  # API Gateway's headers are strings
    return sigv4.verify(sigv4.SignedRequest("POST", "/sessions", "", headers, b"{}"))


def _signed_requests() -> Iterator[bytes]:
    key, url = factories.ec_key(), "https://example.com/sessions"
    leaf = factories.authority().issue("gw-1", key)
    yield json.dumps(signed_requests.sign(key, leaf, url, b"{}", NOW)).encode()


def _session_members(data: bytes) -> object:
    return roles_anywhere.read(HttpRequest("POST", "/sessions", "https://example.com/sessions", data, "", ""))


def _chains() -> Iterator[bytes]:
    yield from (case.read("leaf") for case in corpus.cases("chain"))


def _csrs() -> Iterator[bytes]:
    yield from (case.read("der") for case in corpus.cases("csr"))


def _csr_texts() -> Iterator[bytes]:
    for case in corpus.cases("csr"):
        yield case.read("pem" if "pem" in case.case["files"] else "der")
        yield base64.b64encode(case.read("der"))


def _requests() -> Iterator[bytes]:
    for csr_ in _csrs():
        members = {"csr": base64.b64encode(csr_).decode(), "deviceId": "gw-1", "claims": {"a": 1}}
        yield json.dumps(members | {"deliver": "inline", "configuration": True}).encode()


def _proofs() -> Iterator[bytes]:
    yield _PROOF.encode()
    yield _signed_proof(_PROOF_CLAIMS.encode()).encode()


def _jwt(header: str, claims: str) -> str:
    parts = (base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in (header, claims))
    return ".".join([*parts, "AAAA"])


_PROOF = _jwt('{"typ":"firstboot-proof+jwt","alg":"ES256","x5c":["MAA="]}', "{}")
_PROOF_CLAIMS = '{"htm":"POST","htu":"https://example.com/","bsh":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU","jti":"1","iat":1}'
_ANYWHERE = "arn:aws:rolesanywhere:eu-central-1:123456789012"
_SESSION = json.dumps(
    {
        "durationSeconds": 900,
        "profileArn": f"{_ANYWHERE}:profile/1",
        "roleArn": "arn:aws:iam::123456789012:role/x",
        "trustAnchorArn": f"{_ANYWHERE}:trust-anchor/1",
    }
)
_TOKEN = _jwt('{"typ":"at+jwt","alg":"ES256","kid":"1"}', '{"iss":"i","aud":"a","sub":"d","exp":1}')
_HTTP = json.dumps(
    {
        "rawPath": "/v1/certificates",
        "rawQueryString": "",
        "headers": {"authorization": "Bearer x"},
        "requestContext": {
            "domainName": "example.com",
            "http": {"method": "POST", "sourceIp": "192.0.2.1"},
            "requestId": "1",
        },
        "body": "e30=",
        "isBase64Encoded": True,
    }
)
_RULE = '{"payload":"e30=","clientId":"d","principal":"p","topic":"firstboot/d/certificates/request"}'
_RECONCILE = '{"deviceId":"gw-1","since":1,"slot":2}'
_S3 = '{"Records":[{"eventTime":"2026-01-01T00:00:00Z","s3":{"object":{"key":"certificates/gw-1/0a.pem"}}}]}'

_DOMAIN = (FirstbootError,)

TARGETS: dict[str, Target] = {
    "certificate": Target(_verify_certificate, _DOMAIN, _chains),
    "certificate-text": Target(
        lambda data: certificate.parse_text(text(data)),
        _DOMAIN,
        lambda: (case.anchor().pem.encode() for case in corpus.cases("chain") if case.is_good),
    ),
    "path": Target(_verify_path, _DOMAIN, _chains),
    "csr": Target(lambda data: csr.verify(csr.parse_der(data)), _DOMAIN, _csrs),
    "csr-text": Target(
        lambda data: csr.verify(csr.parse(text(data))),
        _DOMAIN,
        _csr_texts,
    ),
    "proof": Target(lambda data: proof.parse(text(data)), _DOMAIN, _proofs),
    "proof-claims": Target(_verify_proof, _DOMAIN, of(_PROOF_CLAIMS)),
    "sigv4": Target(_verify_signed_request, _DOMAIN, _signed_requests),
    "roles-anywhere": Target(_session_members, _DOMAIN, of(_SESSION)),
    "nonce": Target(lambda data: nonce.is_good(text(data), b"key", NOW), (), of(nonce.make(b"key", NOW))),
    "token": Target(lambda data: token.parse(text(data)), _DOMAIN, of(_TOKEN)),
    "issuer-keys": Target(token.signing_keys, (ValueError,), of('{"keys":[{"kid":"1","kty":"EC"}]}')),
    "authorizer": Target(
        lambda data: authorizer.request(json_value(data)),
        _DOMAIN,
        of('{"protocolData":{"mqtt":{"clientId":"d","password":"eA=="}},"token":"t"}'),
    ),
    "http-body": Target(_read_request, _DOMAIN, _requests),
    "http-pkcs10": Target(lambda data: exchange.read(data, "application/pkcs10", {}), _DOMAIN, _csr_texts),
    "mqtt-event": Target(lambda data: mqtt.message(json_value(data)), _DOMAIN, of(_RULE)),
    "mqtt-presence": Target(
        lambda data: mqtt.connection(json_value(data)),
        _DOMAIN,
        of('{"clientId":"d","principalIdentifier":"p"}'),
    ),
    "queue-reconcile": Target(_sqs, _DOMAIN, of(_RECONCILE, _S3)),
    "queue-jitr": Target(
        lambda data: jitr_messages.parse(text(data)), _DOMAIN, of('{"certificateId":"' + "a" * 64 + '"}')
    ),
    "fleet-folder": Target(
        _fleet, (FleetInvalid,), lambda: (b"\0" + text for text in _example().files.values())
    ),
}


def http_event(data: bytes) -> object:
    """Read an HTTPS event. API Gateway makes it, so only its body and headers are a caller's."""
    event = json.loads(_HTTP)
    event["body"] = text(data)
    return http.request(event)


TARGETS["http-event"] = Target(http_event, _DOMAIN, of("e30="))
TARGETS |= OTHERS | PROTOCOLS
