"""HTTPS: API Gateway's events (payload format 2.0) to requests, answers and errors to responses.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
Bodies are ASCII JSON and carry `time`; errors are problem+json (RFC 9457).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from firstboot.domain.clock import iso, utc_now
from firstboot.domain.errors import FirstbootError
from firstboot.identity.errors import ProofStale
from firstboot.runtime.errors import MalformedRequest, MethodNotAllowed, RouteNotFound
from firstboot.runtime.guard import Clock, Guard, Handler
from firstboot.runtime.messages import Answer, Json, members
from firstboot.runtime.problem import problem
from firstboot.runtime.routes import ROUTES, Route, allowed

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Configuration = TypeVar("Configuration")

MAX_BODY = 16_384
"""Bytes of a request body that is read. The largest valid request is a CSR for RSA-4096 with claims."""

NONCE_HEADER = "DPoP-Nonce"
"""The response header that carries a fresh nonce (RFC 9449 section 8)."""


@dataclass(frozen=True)
class HttpRequest:
    """A request as API Gateway passed it on.

    `url` names the host that the gateway says the request came to. Header names are in lower case.
    `parameters` are those of the path. `client_certificate` is the PEM of the TLS client's
    certificate, None where the host asks for none.
    """

    method: str
    path: str
    url: str
    body: bytes
    source_ip: str
    request_id: str
    client_certificate: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HttpResponse:
    """A response; `body` is text."""

    status: int
    content_type: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_event(self) -> Json:
        """Return the response in API Gateway's form."""
        headers = {"Cache-Control": "no-store", **self.headers, "Content-Type": self.content_type}
        return {
            "statusCode": self.status,
            "headers": headers,
            "body": self.body,
            "isBase64Encoded": False,
        }


Endpoint = Callable[[HttpRequest, datetime], HttpResponse]
"""Answer a request at a time."""


def request(event: Json) -> HttpRequest:
    """Return the request in an event.

    Of client TLS only what the gateway's context says counts: a header of that meaning would be the
    client's own invention. The names and serials that the gateway prints vary in form, so only the PEM
    is read.
    Raises MalformedRequest for a body that is not the base64 which the event says it is.
    """
    context = event["requestContext"]
    certificate = (context.get("authentication") or {}).get("clientCert") or {}
    query = f"?{event['rawQueryString']}" if event.get("rawQueryString") else ""
    return HttpRequest(
        method=context["http"]["method"],
        path=event["rawPath"],
        url=f"https://{context['domainName']}{event['rawPath']}{query}",
        body=_body(event),
        source_ip=context["http"]["sourceIp"],
        request_id=context["requestId"],
        client_certificate=certificate.get("clientCertPem") or None,
        headers={name.lower(): value for name, value in (event.get("headers") or {}).items()},
        query=event.get("queryStringParameters") or {},
    )


def _body(event: Json) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body).encode(errors="surrogatepass")  # JSON may escape half a character
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise MalformedRequest("The body is not base64", log=repr(error)) from error


def respond(
    status: int, answer: Answer, now: datetime, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return a JSON response with the server's time."""
    return _json(status, "application/json", members(answer) | {"time": iso(now)}, headers or {})


def refuse(error: FirstbootError, request_id: str, now: datetime) -> HttpResponse:
    """Return the problem+json response for a domain error."""
    body = problem(error, request_id, now)
    headers = {"Allow": error.allow} if isinstance(error, MethodNotAllowed) else {}
    if "retryAfter" in body:
        headers["Retry-After"] = str(body["retryAfter"])
    if isinstance(error, ProofStale):
        headers[NONCE_HEADER] = error.nonce
    return _json(error.status, "application/problem+json", body, headers)


def _json(status: int, content_type: str, body: Json, headers: Mapping[str, str]) -> HttpResponse:
    # ASCII: some firmware reads bytes only.
    return HttpResponse(status, content_type, json.dumps(body, separators=(",", ":")), headers)


class Dispatcher:
    """The endpoints of one Lambda by route."""

    def __init__(self, service: str, endpoints: Mapping[Route, Endpoint]) -> None:
        """Raise ValueError unless `endpoints` are exactly the routes that the table gives `service`."""
        declared = {route for route in ROUTES if route.service == service}
        if endpoints.keys() != declared:
            raise ValueError(f"{service} must answer exactly {sorted(route.key for route in declared)}")
        self._endpoints = endpoints

    def answer(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Return the response of the endpoint behind the request's method and path.

        Raises RouteNotFound, MethodNotAllowed and what the endpoint raises.
        """
        for route, endpoint in self._endpoints.items():
            parameters = route.match(request.path)
            if parameters is not None and route.method == request.method:
                return endpoint(replace(request, parameters=parameters), now)
        methods = allowed(request.path)
        raise MethodNotAllowed(", ".join(methods)) if methods else RouteNotFound


def http_function(
    service: str,
    build: Callable[[Configuration, Guard], Mapping[Route, Endpoint]],
    read: Callable[[], Configuration],
    clock: Clock = utc_now,
) -> Handler:
    """Return a Lambda handler for API Gateway with the endpoints that `build` returns.

    They are built on the first call, from the settings that `read` returns. Every failure is a response.
    """
    guard = Guard(service, clock)
    dispatcher = cache(lambda: Dispatcher(service, build(read(), guard)))

    def handle(event: Json, _: LambdaContext) -> Json:
        guard.count("Request")
        return guard.run(
            lambda: dispatcher().answer(request(event), guard.now()),
            lambda error: refuse(error, _request_id(event), guard.now()),
        ).as_event()

    return guard.handler(handle)


def _request_id(event: Any) -> str:  # noqa: ANN401 - any JSON value
    return str((event.get("requestContext") or {}).get("requestId", ""))
