"""Errors of reading a request of any kind."""

from __future__ import annotations

from firstboot.domain.errors import OperatorError, RequestError, TokenError


class MalformedRequest(RequestError):
    code = "malformed-request"
    title = "The request has a wrong or missing member"


class MalformedJson(RequestError):
    code = "malformed-json"
    title = "The body is not JSON"


class BodyTooLarge(RequestError):
    code = "body-too-large"
    status = 413
    title = "The body is larger than any valid request"


class RouteNotFound(RequestError):
    code = "route-not-found"
    status = 404
    title = "There is nothing at this path"


class MethodNotAllowed(RequestError):
    """`allow` is the value of the Allow header (RFC 9110 section 10.2.1)."""

    code = "method-not-allowed"
    status = 405
    title = "This path does not answer that method"

    def __init__(self, allow: str) -> None:
        super().__init__(f"Allowed here: {allow}")
        self.allow = allow


class IssuerUnavailable(TokenError):
    code = "issuer-unavailable"
    status = 503
    title = "The issuer's keys can't be had"


class OperationUnknown(OperatorError):
    code = "operation-unknown"
    title = "There is no such operation"
