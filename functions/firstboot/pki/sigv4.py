"""Requests that a certificate's key has signed, in the form of IAM Roles Anywhere (SigV4-X509).

https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-sign-process.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

This module verifies that the key of the certificate in the request signed the request. Its caller verifies
the certificate, and that the request is fresh and was not sent before.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from cryptography.hazmat.primitives import hashes

from firstboot.pki import certificate
from firstboot.pki.certificate import Certificate
from firstboot.pki.der import NotDer
from firstboot.pki.errors import CertificateMalformed, ProofMalformed, ProofSignatureInvalid
from firstboot.pki.signature import Algorithm, KeyRefused, is_valid

SERVICE = "rolesanywhere"
_ALGORITHMS = {
    "AWS4-X509-ECDSA-SHA256": Algorithm(is_ecdsa=True, hash=hashes.SHA256()),
    "AWS4-X509-RSA-SHA256": Algorithm(is_ecdsa=False, hash=hashes.SHA256()),
}
_AUTHORIZATION = re.compile(
    r"(?P<algorithm>[A-Z0-9-]+) +Credential=(?P<serial>[0-9]{1,64})/(?P<scope>[a-z0-9_/-]{1,100}), *"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]{1,500}), *Signature=(?P<signature>(?:[0-9a-f]{2}){1,1024})"
)
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_REQUIRED = frozenset({"host", "x-amz-date", "x-amz-x509"})
"""The headers that must be signed. `x-amz-x509-chain` must be, if it is there."""

_CHAIN = "x-amz-x509-chain"


@dataclass(frozen=True)
class SignedRequest:
    """A request. `query` is without `?`, as it was sent; names of `headers` are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Verified:
    """A request that the key of `leaf` signed at `signed_at`, by the word of its sender.

    `intermediates` came with it. `host` is the host that it was signed for. `digest` (SHA-256, hex) is that
    of the string which was signed: an ECDSA signature has two forms, and this has one.
    """

    leaf: Certificate
    intermediates: tuple[Certificate, ...]
    signed_at: datetime
    host: str
    digest: str


def verify(request: SignedRequest) -> Verified:
    """Verify the signature of a request with the certificate in it.

    Raises ProofMalformed, CertificateMalformed, ProofSignatureInvalid.
    """
    found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if found is None or found["algorithm"] not in _ALGORITHMS:
        raise ProofMalformed(f"Authorization must be {' or '.join(_ALGORITHMS)} with its three members")
    signed = found["headers"].split(";")
    _check_headers(signed, request.headers)
    date = request.headers["x-amz-date"]
    signed_at = _moment(date)
    _check_scope(found["scope"], date)
    leaf = _certificate(request.headers["x-amz-x509"])
    if found["serial"] != str(leaf.serial_number):
        raise ProofMalformed("The credential must begin with the certificate's serial number in decimal")
    canonical = _canonical(request, signed)
    text = "\n".join((found["algorithm"], date, found["scope"], _hex(canonical.encode()))).encode()
    _check_signature(leaf, _ALGORITHMS[found["algorithm"]], text, bytes.fromhex(found["signature"]))
    return Verified(leaf, _chain(request.headers), signed_at, request.headers["host"], _hex(text))


def _check_headers(signed: list[str], headers: Mapping[str, str]) -> None:
    needed = _REQUIRED | ({_CHAIN} & headers.keys())
    # An event's strings can hold half a surrogate pair, which has no encoding to hash.
    if not all(headers.get(name, "").isascii() for name in signed):
        raise ProofMalformed("The signed headers must be ASCII")
    # A header that is named twice would be in the canonical request twice, which no client makes.
    if not needed <= set(signed) <= headers.keys() or signed != sorted(set(signed)):
        raise ProofMalformed(
            f"The signed headers must include {', '.join(sorted(needed))}, be sorted, and be in the request"
        )


def _moment(date: str) -> datetime:
    # strptime takes numbers of fewer digits too.
    try:
        moment = datetime.strptime(date, _DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None or moment.strftime(_DATE_FORMAT) != date:
        raise ProofMalformed("X-Amz-Date must have the form 20261128T120000Z", log=repr(date[:32]))
    return moment


def _check_scope(scope: str, date: str) -> None:
    # The region is not compared: a client is configured for AWS's endpoint of some region.
    match scope.split("/"):
        case [day, _, service, "aws4_request"] if (day, service) == (date[:8], SERVICE):
            return
    raise ProofMalformed(f"The credential's scope must be DATE/REGION/{SERVICE}/aws4_request")


def _certificate(encoded: str) -> Certificate:
    try:
        der = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise CertificateMalformed(log=repr(error)) from error
    return certificate.parse(der)


def _chain(headers: Mapping[str, str]) -> tuple[Certificate, ...]:
    encoded = headers.get(_CHAIN, "").split(",") if headers.get(_CHAIN) else []
    if len(encoded) > certificate.MAX_INTERMEDIATES:
        raise ProofMalformed(
            f"X-Amz-X509-Chain must have at most {certificate.MAX_INTERMEDIATES} certificates"
        )
    return tuple(_certificate(each.strip()) for each in encoded)


def _canonical(request: SignedRequest, signed: list[str]) -> str:
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed)
    parts = (request.method, quote(request.path, safe="/-_.~"), _canonical_query(request.query))
    return "\n".join((*parts, headers, ";".join(signed), _hex(request.body)))


def _canonical_query(query: str) -> str:
    if not query.isascii():
        raise ProofMalformed("The query must be ASCII")
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    encoded = ((_encoded(name), _encoded(value)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


def _check_signature(leaf: Certificate, by: Algorithm, text: bytes, signature: bytes) -> None:
    try:
        key = leaf.public_key()
    except (KeyRefused, NotDer) as error:
        raise ProofSignatureInvalid(log=repr(error)) from error
    if not is_valid(key, text, signature, by):
        raise ProofSignatureInvalid


def _hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
