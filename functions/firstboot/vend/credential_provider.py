"""The wire format of AWS IoT's credential provider: `GET /role-aliases/{alias}/credentials`.

https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html

Its clients (awscrt, Greengrass, Kinesis Video) cannot read problem+json, so an error is `{"message"}` with
AWS IoT's own texts. AWS IoT has none for an answer that its client cannot read.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from firstboot.domain.clock import iso
from firstboot.domain.errors import (
    AuthenticationError,
    AuthorizationError,
    DurationTooLong,
    FirstbootError,
    RoleAliasNotFound,
    RoleNotAssumable,
    SessionPolicyTooLarge,
    Unavailable,
)
from firstboot.domain.session import Credentials
from firstboot.identity.errors import OperationalCertificateRequired
from firstboot.policy.errors import AnswerTooLarge
from firstboot.policy.limits import AWSCRT_ANSWER
from firstboot.runtime.http import HttpResponse
from firstboot.runtime.messages import Answer, Time, members
from firstboot.runtime.problem import waiting_time
from firstboot.vend.errors import ThingNameMismatch

Refusal = tuple[int, str, str]
"""A status, the value of `x-amzn-ErrorType`, and the message."""

_CERTIFICATE = (403, "AccessDeniedException", "Certificate is invalid on this endpoint")
_ROLE = (
    400,
    "InvalidRequestException",
    "Unable to assume the role, or the role to assume does not exist",
)
_AWSCRT = "aws-sdk-crt/x509-credentials-provider"
"""The User-Agent of awscrt's provider of credentials, the same in every version (aws-c-auth)."""

# The first entry that the error is an instance of decides.
REFUSALS: dict[type[FirstbootError], Refusal] = {
    ThingNameMismatch: (403, "AccessDeniedException", "Invalid thing name passed"),
    RoleAliasNotFound: (404, "ResourceNotFoundException", "Role alias does not exist"),
    DurationTooLong: (
        400,
        "InvalidRequestException",
        "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role",
    ),
    AnswerTooLarge: (
        400,
        "InvalidRequestException",
        "The credentials are too large for this client: give the device fewer or smaller grants",
    ),
    RoleNotAssumable: _ROLE,
    SessionPolicyTooLarge: _ROLE,
    AuthenticationError: _CERTIFICATE,
    OperationalCertificateRequired: _CERTIFICATE,
    AuthorizationError: (403, "AccessDeniedException", "Access Denied"),
    Unavailable: (503, "ServiceUnavailableException", "Service unavailable"),
}
UNFORESEEN = (500, "InternalFailureException", "Internal failure")


class ProviderError(Answer, frozen=True, kw_only=True):
    """A refusal as AWS IoT's credential provider writes it."""

    message: str


class CredentialMembers(Answer, frozen=True, kw_only=True):
    """Credentials with AWS IoT's member names."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: Time


class CredentialsAnswer(Answer, frozen=True, kw_only=True):
    """The answer with credentials, the same over HTTPS and MQTT."""

    credentials: CredentialMembers


def render(credentials: Credentials) -> CredentialsAnswer:
    """Return credentials as an answer."""
    made = CredentialMembers(
        access_key_id=credentials.access_key_id,
        secret_access_key=credentials.secret_access_key,
        session_token=credentials.session_token,
        # AWS's clients read an epoch number as credentials that never need a refresh.
        expiration=iso(credentials.expiration),
    )
    return CredentialsAnswer(credentials=made)


def _json(answer: Answer) -> str:
    return json.dumps(members(answer), separators=(",", ":"))


def success(credentials: Credentials) -> HttpResponse:
    """Return the 200 response."""
    return HttpResponse(HTTPStatus.OK, "application/json", _json(render(credentials)))


def client_limit(user_agent: str) -> int | None:
    """Return the bytes of the longest answer that a client reads, None if no limit is known of it."""
    return AWSCRT_ANSWER if user_agent.startswith(_AWSCRT) else None


def failure(error: FirstbootError, request_id: str) -> HttpResponse:
    """Return the response that AWS IoT would give for an error. `request_id` is for the operator's log."""
    status, kind, message = next(
        (answer for known, answer in REFUSALS.items() if isinstance(error, known)), UNFORESEEN
    )
    headers = {"x-amzn-ErrorType": kind, "x-amzn-RequestId": request_id}
    # AWS IoT sends no such header. Its clients ignore it, and others can come back at their time.
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(waiting_time(error, request_id))
    return HttpResponse(status, "application/json", _json(ProviderError(message=message)), headers)
