"""HTTPS: API Gateway's events (payload 2.0) to values, values and errors to answers.

Bodies are ASCII JSON and carry `time`; errors are problem+json (RFC 9457).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2
from aws_lambda_powertools.utilities.typing import LambdaContext

from firstboot.domain.clock import iso
from firstboot.domain.errors import (
    Action,
    FirstbootError,
    InternalError,
    MethodNotAllowed,
    ProofStale,
    RouteNotFound,
)
from firstboot.runtime import guard as refusals
from firstboot.runtime.routes import allowed

MAX_BODY = 16_384
"""Bytes of a request body that is read. The largest valid request is a CSR for RSA-4096 with claims."""

NONCE_HEADER = "DPoP-Nonce"
"""RFC 9449 section 8."""

RETRY_SECONDS = 5
"""The least a device waits before it tries again; as much again is spread over the fleet."""


def answer(status: int, body: dict[str, Any], now: datetime) -> Response[str]:
    """A JSON answer with the server's time."""
    return _response(status, "application/json", body | {"time": iso(now)}, {})


def wait(body: dict[str, Any], now: datetime) -> Response[str]:
    """A 202: the same request again after `retryAfter` seconds."""
    accepted = answer(HTTPStatus.ACCEPTED, body, now)
    accepted.headers["Retry-After"] = str(body["retryAfter"])
    return accepted


def spread(seconds: int, seed: str) -> int:
    """`seconds` and up to as much again, a minute at most, by `seed`: a fleet that waits must not
    come back at once.
    """
    return seconds + zlib.crc32(seed.encode()) % (min(seconds, 60) + 1)


def readiness(device_id: str, seconds: int, *, ready: bool) -> dict[str, Any]:
    """Whether AWS IoT knows the device's certificate; if not, when to look again: in `seconds`, spread."""
    return {"ready": ready, "retryAfter": 0 if ready else spread(seconds, device_id)}


def problem_members(error: FirstbootError, request_id: str, now: datetime) -> dict[str, Any]:
    """The problem of a domain error, with the code that docs/protocol.md explains."""
    members: dict[str, Any] = {
        "type": f"urn:firstboot:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "requestId": request_id,
        "action": error.action.value,
    }
    if error.action in (Action.RETRY, Action.WAIT):
        members["retryAfter"] = spread(error.retry_after or RETRY_SECONDS, request_id)
    if isinstance(error, ProofStale):
        members["nonce"] = error.nonce
    return members | {"time": iso(now)}


def problem(error: FirstbootError, request_id: str, now: datetime) -> Response[str]:
    """The problem+json of a domain error."""
    members = problem_members(error, request_id, now)
    headers = {"Allow": error.allow} if isinstance(error, MethodNotAllowed) else {}
    if "retryAfter" in members:
        headers["Retry-After"] = str(members["retryAfter"])
    if isinstance(error, ProofStale):
        headers[NONCE_HEADER] = error.nonce
    return _response(error.status, "application/problem+json", members, headers)


def _response(status: int, kind: str, body: dict[str, Any], headers: dict[str, str]) -> Response[str]:
    return Response(
        status_code=status,
        content_type=kind,
        body=json.dumps(body, separators=(",", ":")),
        headers={"Cache-Control": "no-store", **headers},
    )


class Api:
    """A Lambda's HTTPS side: routes, and one place where errors become answers."""

    def __init__(self, logger: Logger, metrics: Metrics, clock: Callable[[], datetime]) -> None:
        self.app = APIGatewayHttpResolver()
        self._logger = logger
        self._metrics = metrics
        self._clock = clock
        self.app.exception_handler(FirstbootError)(self._refuse)
        self.app.not_found(self._unrouted)

    @property
    def event(self) -> APIGatewayProxyEventV2:
        """The event being answered."""
        return self.app.current_event

    def resolve(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Answer an event. Whatever was not foreseen is a 500 that says nothing, and a loud log."""
        self._metrics.add_metric("Request", MetricUnit.Count, 1)
        try:
            return self.app.resolve(event, context)
        except Exception:
            self._logger.exception("unhandled")
            self._metrics.add_metric("InternalError", MetricUnit.Count, 1)
            return _rendered(problem(InternalError(), _request_id(event), self._clock()))

    def count_refusal(self, error: FirstbootError) -> None:
        """Log and count a refusal."""
        refusals.count(error, self._logger, self._metrics)

    def _refuse(self, error: FirstbootError) -> Response[str]:
        self.count_refusal(error)
        return problem(error, self.event.request_context.request_id, self._clock())

    def _unrouted(self, _: Exception) -> Response[str]:
        methods = allowed(self.event.path)
        return self._refuse(MethodNotAllowed(", ".join(methods)) if methods else RouteNotFound())


def _request_id(event: dict[str, Any]) -> str:
    return str((event.get("requestContext") or {}).get("requestId", ""))


def _rendered(response: Response[str]) -> dict[str, Any]:
    return {
        "statusCode": response.status_code,
        "headers": {**response.headers, "Content-Type": response.content_type},
        "body": response.body,
        "isBase64Encoded": False,
    }
