"""Payload format 2.0 of HTTP APIs: make a Lambda function's event of a request, and a response of its answer.

Source: API Gateway developer guide, "Create AWS Lambda proxy integrations for HTTP APIs".
"""

from __future__ import annotations

import base64
import re
import ssl
import time
import uuid
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web
from multidict import CIMultiDict

from local.cloud import ACCOUNT

_TEXT = re.compile(r"\s*(text/[^;]*|application/(json|xml|javascript))\s*(;.*)?", re.IGNORECASE)
_ESCAPES = re.compile(r"(?:%(?!25)[0-9A-Fa-f]{2})+")
_SHORT = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}


def raw_path(request: web.BaseRequest) -> str:
    """Return the event's `rawPath`: every escape except `%25` is decoded, as the gateway does."""
    path = request.raw_path.partition("?")[0]
    return _ESCAPES.sub(lambda m: bytes.fromhex(m[0].replace("%", "")).decode(errors="replace"), path)


def event(
    request: web.BaseRequest, body: bytes, parameters: dict[str, str], context: dict[str, str]
) -> dict[str, Any]:
    """Return the event of a request.

    `parameters` are those of its path. `context` is the gateway's part of requestContext, which takes only
    the method, the path and the user agent from the client.
    """
    query = request.raw_path.partition("?")[2]
    text = bool(_TEXT.fullmatch(request.headers.get("Content-Type", "")))
    cookies = "; ".join(request.headers.getall("Cookie", []))
    optional = {
        "cookies": cookies and re.split(r";\s*", cookies),
        "queryStringParameters": {k: ",".join(v) for k, v in parse_qs(query, keep_blank_values=True).items()},
        "pathParameters": parameters,
        "body": body.decode(errors="replace") if text else base64.b64encode(body).decode(),
    }
    return {
        "version": "2.0",
        "routeKey": context["routeKey"],
        "rawPath": raw_path(request),
        "rawQueryString": query,
        "headers": _headers(request),
        "requestContext": _context(request) | context,
        "isBase64Encoded": bool(body) and not text,
    } | {key: value for key, value in optional.items() if value}


def response(answer: dict[str, Any]) -> web.Response:
    """Return the response that the gateway sends for a Lambda function's answer.

    Raises AttributeError, KeyError, TypeError or ValueError if the answer does not have the format.
    """
    body = answer.get("body") or ""
    content = base64.b64decode(body, validate=True) if answer.get("isBase64Encoded") else body.encode()
    headers = CIMultiDict({"Content-Type": "application/json"})
    headers.update(answer.get("headers") or {})
    return web.Response(status=int(answer["statusCode"]), headers=headers, body=content)


def _headers(request: web.BaseRequest) -> dict[str, str]:
    names = {name.lower() for name in request.headers} - {"cookie"}
    forwarded = [*request.headers.getall("X-Forwarded-For", []), str(request.remote)]
    own = {"x-forwarded-for": ", ".join(forwarded), "x-forwarded-port": "443", "x-forwarded-proto": "https"}
    return {name: ",".join(request.headers.getall(name)) for name in names} | own


def _context(request: web.BaseRequest) -> dict[str, Any]:
    now = time.time()
    connection = request.get_extra_info("ssl_object")
    is_mutual = connection.getpeercert(binary_form=True) is not None
    mutual = {"authentication": {"clientCert": _client_certificate(connection)}} if is_mutual else {}
    return mutual | {
        "accountId": ACCOUNT,
        "http": {
            "method": request.method,
            "path": raw_path(request),
            "protocol": f"HTTP/{request.version.major}.{request.version.minor}",
            "sourceIp": request.remote,
            "userAgent": request.headers.get("User-Agent", ""),
        },
        "requestId": str(uuid.uuid4()),
        "stage": "$default",
        "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
        "timeEpoch": int(now * 1000),
    }


def _client_certificate(connection: ssl.SSLObject) -> dict[str, Any]:
    """Return what the gateway says of the client's certificate, as OpenSSL read it in the handshake.

    Other readers, such as cryptography, refuse some forms.
    """
    read: dict[str, Any] = connection.getpeercert() or {}
    serial = int(read["serialNumber"], 16)
    return {
        "clientCertPem": ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b""),
        "subjectDN": _name(read["subject"]),
        "issuerDN": _name(read["issuer"]),
        "serialNumber": serial.to_bytes(serial.bit_length() // 8 + 1).hex(":"),
        "validity": {"notBefore": read["notBefore"], "notAfter": read["notAfter"]},
    }


def _name(relative: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """Return a name in the order of RFC 4514. The gateway's escapes are not documented."""
    parts = ("+".join(f"{_SHORT.get(kind, kind)}={value}" for kind, value in each) for each in relative)
    return ",".join(reversed(list(parts)))
