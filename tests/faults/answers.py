"""The answers of AWS's services to a call that fails, each in its own protocol.

The codes are those of each service's "Common errors" and API reference. docs/faults.md describes the kinds
of faults.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.loaders import Loader

Headers = dict[str, str]
Response = tuple[int, Headers, bytes]


@dataclass(frozen=True)
class Request:
    """A request of a client of AWS as it came over the wire. `path` has the query."""

    method: str
    path: str
    headers: Headers
    body: bytes

    @property
    def service(self) -> str:
        """Return the service's name in the request's signature."""
        credential = self.headers["authorization"].split(",")[0].split()[1]
        return credential.split("/")[3]

    @property
    def operation(self) -> str:
        """Return the operation's name as AWS's API references have it."""
        if target := self.headers.get("x-amz-target"):
            return target.rpartition(".")[2]
        if self.service == "sts":
            return parse_qs(self.body.decode())["Action"][0]
        return _s3(self) if self.service == "s3" else _rest(self.service, self.method, self.path)

    @property
    def name(self) -> str:
        """Return the service and the operation."""
        return f"{self.service}:{self.operation}"

    @property
    def invocation(self) -> str:
        """Return the id that all attempts of one call have."""
        return self.headers.get("amz-sdk-invocation-id", "")

    @property
    def is_last_attempt(self) -> bool:
        """Return whether the client will not repeat the call, by the header that AWS's SDKs send."""
        attempt, _, most = self.headers.get("amz-sdk-request", "").partition("; ")
        return attempt.removeprefix("attempt=") == most.removeprefix("max=")

    def members(self) -> dict[str, Any]:
        """Return the members of a request whose body is JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def _s3(request: Request) -> str:
    query = urlsplit(request.path).query
    if request.method == "GET" and "list-type=2" in query:
        return "ListObjectsV2"
    if request.method == "GET" and "versions" in query.split("&"):
        return "ListObjectVersions"
    return {"GET": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject", "HEAD": "HeadObject"}[
        request.method
    ]


@cache
def _operations(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    model = Loader().load_service_model({"iotdata": "iot-data"}.get(service, service), "service-2")
    found = []
    for name, operation in model["operations"].items():
        http = operation["http"]
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(http["requestUri"].partition("?")[0]))
        found.append((http["method"], re.compile(pattern), name))
    # The longest pattern first: /things/{thingName} would take a path of another operation otherwise.
    return sorted(found, key=lambda each: -len(each[1].pattern))


def _rest(service: str, method: str, path: str) -> str:
    plain = urlsplit(path).path
    for verb, pattern, name in _operations(service):
        if verb == method and pattern.fullmatch(plain):
            return name
    raise AssertionError(f"{service}: {method} {unquote(plain)}")


_THROTTLED = {
    "dynamodb": (400, "ThrottlingException"),
    "kms": (400, "ThrottlingException"),
    "s3": (503, "SlowDown"),
    "sts": (400, "Throttling"),
    "iot": (429, "ThrottlingException"),
    "iotdata": (429, "ThrottlingException"),
    "sqs": (400, "RequestThrottled"),
    "secretsmanager": (400, "ThrottlingException"),
}
_FAILED = {
    "dynamodb": (500, "InternalServerError"),
    "kms": (500, "KMSInternalException"),
    "s3": (500, "InternalError"),
    "sts": (500, "InternalFailure"),
    "iot": (500, "InternalFailureException"),
    "iotdata": (500, "InternalFailureException"),
    "sqs": (500, "InternalFailure"),
    "secretsmanager": (500, "InternalServiceError"),
}
_DENIED = {"dynamodb": (400, "AccessDeniedException"), "kms": (400, "AccessDeniedException")}
_DENIED["secretsmanager"] = (400, "AccessDeniedException")
CONFLICTS = {
    # DynamoDB API reference: a transaction or another request works on the item.
    "dynamodb:TransactWriteItems": (400, "TransactionCanceledException"),
    "dynamodb:UpdateItem": (400, "TransactionConflictException"),
    "dynamodb:PutItem": (400, "TransactionConflictException"),
    "dynamodb:DeleteItem": (400, "TransactionConflictException"),
    # Amazon S3 user guide, "How to prevent object overwrites with conditional writes".
    "s3:PutObject": (409, "ConditionalRequestConflict"),
    # AWS IoT API reference, of each operation.
    "iot:DeleteCertificate": (409, "DeleteConflictException"),
    "iot:DeletePolicy": (409, "DeleteConflictException"),
    "iot:CreatePolicyVersion": (409, "VersionsLimitExceededException"),
    "iotdata:UpdateThingShadow": (409, "ConflictException"),
}


def throttled(request: Request) -> Response:
    """Return the refusal of a call above the service's rate."""
    return _refusal(request, *_THROTTLED[request.service])


def failed(request: Request) -> Response:
    """Return the answer of a service that fails."""
    return _refusal(request, *_FAILED[request.service])


def denied(request: Request) -> Response:
    """Return the refusal of a caller without the right."""
    status, code = _DENIED.get(request.service, (403, "AccessDeniedException"))
    return _refusal(request, status, "AccessDenied" if request.service in ("s3", "sts", "sqs") else code)


def conflict(request: Request) -> Response | None:
    """Return the refusal of a call that conflicts with another one, or None if the operation has none."""
    known = CONFLICTS.get(request.name)
    return _refusal(request, *known) if known else None


def _refusal(request: Request, status: int, code: str) -> Response:
    if request.service in ("s3", "sts"):
        error = f"<Error><Code>{code}</Code><Message>injected</Message></Error>"
        text = error if request.service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"
        return status, {"content-type": "text/xml"}, text.encode()
    members: dict[str, Any] = {"message": "injected"}
    headers = {"content-type": "application/x-amz-json-1.0"}
    if request.service in ("iot", "iotdata"):
        headers = {"content-type": "application/json", "x-amzn-errortype": code}
    else:
        members["__type"] = f"com.amazonaws#{code}"
    if code == "TransactionCanceledException":
        reasons: list[dict[str, str]] = [{"Code": "None"} for _ in request.members()["TransactItems"]]
        reasons[-1] = {"Code": "TransactionConflict", "Message": "injected"}
        members["CancellationReasons"] = reasons
    return status, headers, json.dumps(members).encode()
