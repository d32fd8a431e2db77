"""HTTPS requests: convert API Gateway's events (payload format 2.0), and answers and errors to responses.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
Bodies are ASCII JSON and carry `time`; errors are problem+json (RFC 9457).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from firstboot.domain.clock import utc_now
from firstboot.domain.errors import FirstbootError
from firstboot.identity.errors import ProofStale
from firstboot.runtime.errors import MalformedRequest, MethodNotAllowed, RouteNotFound
from firstboot.runtime.guard import Clock, Guard, Handler
from firstboot.runtime.messages import Answer, Json, stamped
from firstboot.runtime.problem import problem
from firstboot.runtime.routes import Route

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Configuration = TypeVar("Configuration")

MAX_BODY = 16_384
"""Bytes of a request body. The largest valid request, a CSR for RSA of 4,096 bits with claims, is smaller."""

NONCE_HEADER = "DPoP-Nonce"
"""The response header that carries a fresh nonce (RFC 9449 section 8)."""


@dataclass(frozen=True)
class HttpRequest:
    """A request that API Gateway passed on.

    `url` has the host that, by the gateway's word, the request came to. Header names are in lower case.
    `parameters` are those of the path. `client_certificate` is the TLS client's certificate in PEM, None if
    the host does not ask for one.
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
    """A response with a text body."""

    status: int
    content_type: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_event(self) -> Json:
        """Return the response in API Gateway's form."""
        # An answer can hold credentials or a presigned URL, so no cache may keep it.
        headers = {"Cache-Control": "no-store", **self.headers, "Content-Type": self.content_type}
        return {
            "statusCode": self.status,
            "headers": headers,
            "body": self.body,
            "isBase64Encoded": False,
        }


Endpoint = Callable[[HttpRequest, datetime], HttpResponse]
"""Answer a request at a given time."""


@dataclass(frozen=True)
class HttpEndpoints:
    """The endpoints of one Lambda function. `routes` are those of the whole deployment."""

    routes: Collection[Route]
    by_route: Mapping[Route, Endpoint]


def request(event: Json) -> HttpRequest:
    """Return the request in an event.

    Raises MalformedRequest if the event says that the body is base64 and it is not.
    """
    # The client certificate comes from the gateway's context only, because a client can write any header. The
    # gateway prints names and serials in varying forms, so only the PEM is read.
    context = event["requestContext"]
    certificate = (context.get("authentication") or {}).get("clientCert") or {}
    query = f"?{event['rawQueryString']}" if event.get("rawQueryString") else ""
    # `domainName` is the host that the gateway served. A proof is compared with it, and not with the Host
    # header: a client could write that header to use a proof that was made for another host.
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


def media_type(content_type: str) -> str:
    """Return the media type in a Content-Type header, in lower case and without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def _body(event: Json) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        # The event may hold a lone surrogate. It must not raise here, since the parser of the body refuses
        # it.
        return str(body).encode(errors="surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise MalformedRequest("The body is not base64", log=repr(error)) from error


def respond(
    status: int, answer: Answer, now: datetime, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return a JSON response with the members of `answer` and the server's time."""
    return json_response(status, "application/json", stamped(answer, now), headers or {})


def refuse(error: FirstbootError, request_id: str, now: datetime) -> HttpResponse:
    """Return the problem+json response for a domain error."""
    body = problem(error, request_id, now)
    headers = {"Allow": error.allow} if isinstance(error, MethodNotAllowed) else {}
    if "retryAfter" in body:
        headers["Retry-After"] = str(body["retryAfter"])
    if isinstance(error, ProofStale):
        headers[NONCE_HEADER] = error.nonce
    return json_response(error.status, "application/problem+json", body, headers)


def json_response(status: int, content_type: str, body: Json, headers: Mapping[str, str]) -> HttpResponse:
    """Return a response with the JSON object `body`."""
    # The JSON is ASCII, because some firmware cannot decode other characters.
    return HttpResponse(status, content_type, json.dumps(body, separators=(",", ":")), headers)


class Dispatcher:
    """The endpoints of one Lambda function by route.

    Powertools' resolver is not used: it adds 130 ms to a cold start and answers a wrong method with 404.
    """

    def __init__(self, service: str, endpoints: HttpEndpoints) -> None:
        """Raise ValueError unless `endpoints` has exactly the deployment's routes of `service`."""
        declared = {route for route in endpoints.routes if route.service == service}
        if endpoints.by_route.keys() != declared:
            raise ValueError(f"{service} must answer exactly {sorted(route.key for route in declared)}")
        self._endpoints = endpoints

    def answer(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Return the response of the endpoint that has the request's method and path.

        Raises RouteNotFound, MethodNotAllowed and what the endpoint raises.
        """
        for route, endpoint in self._endpoints.by_route.items():
            parameters = route.match(request.path)
            if parameters is not None and route.method == request.method:
                return endpoint(replace(request, parameters=parameters) if parameters else request, now)
        methods = [each.method for each in self._endpoints.routes if each.match(request.path) is not None]
        raise MethodNotAllowed(", ".join(methods)) if methods else RouteNotFound


def http_function(
    service: str,
    build: Callable[[Configuration, Guard], HttpEndpoints],
    read: Callable[[], Configuration],
    clock: Clock = utc_now,
) -> Handler:
    """Return a Lambda handler for API Gateway with the endpoints that `build` returns.

    The endpoints are built on the first call, from the settings that `read` returns. A failure becomes a
    problem response; no exception reaches Lambda.
    """
    guard = Guard(service, clock)
    # `cache` keeps no exception, so the next call repeats a build that failed.
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
