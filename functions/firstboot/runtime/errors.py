"""Errors of reading a request, over any transport."""

from __future__ import annotations

from firstboot.domain.errors import OperatorError, RequestError, TokenError


class MalformedRequest(RequestError):
    code = "malformed-request"
    title = "A member of the request is invalid or missing"


class MalformedJson(RequestError):
    code = "malformed-json"
    title = "The body is not valid JSON"


class BodyTooLarge(RequestError):
    code = "body-too-large"
    status = 413
    title = "The body is larger than any valid request"


class RouteNotFound(RequestError):
    code = "route-not-found"
    status = 404
    title = "No route has this path"


class MethodNotAllowed(RequestError):
    """The refusal of a method. `allow` is the value of the Allow header (RFC 9110 section 10.2.1)."""

    code = "method-not-allowed"
    status = 405
    title = "The path does not support this method"

    def __init__(self, allow: str) -> None:
        super().__init__(f"The path supports {allow}")
        self.allow = allow


class IssuerUnavailable(TokenError):
    code = "issuer-unavailable"
    status = 503
    title = "The issuer's keys are not available"


class OperationUnknown(OperatorError):
    code = "operation-unknown"
    title = "There is no such operation"
