"""AWS IoT's credential provider: `GET /role-aliases/{alias}/credentials`, to the letter.

https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html
Its clients (awscrt, Greengrass, Kinesis Video) know no problem+json: errors are `{"message"}`.
"""

from __future__ import annotations

import json

from aws_lambda_powertools.event_handler import Response

from firstboot.domain import errors
from firstboot.domain.clock import iso
from firstboot.domain.session import Credentials
from firstboot.policy.limits import check_answer

_Answer = tuple[int, str, str]
_CERTIFICATE = (403, "AccessDeniedException", "Certificate is invalid on this endpoint")
_ROLE = (
    400,
    "InvalidRequestException",
    "Unable to assume the role, or the role to assume does not exist",
)
# The first class that an error is an instance of counts.
_ANSWERS: dict[type[errors.FirstbootError], _Answer] = {
    errors.ThingNameMismatch: (403, "AccessDeniedException", "Invalid thing name passed"),
    errors.RoleAliasNotFound: (404, "ResourceNotFoundException", "Role alias does not exist"),
    errors.DurationTooLong: (
        400,
        "InvalidRequestException",
        "The requested CredentialDurationSeconds exceeds the MaxSessionDuration set for the role",
    ),
    errors.AnswerTooLarge: (500, "InternalFailureException", "Internal failure"),
    errors.RoleNotAssumable: _ROLE,
    errors.SessionPolicyTooLarge: _ROLE,
    errors.AuthenticationError: _CERTIFICATE,
    errors.OperationalCertificateRequired: _CERTIFICATE,
    errors.AuthorizationError: (403, "AccessDeniedException", "Access Denied"),
    errors.Unavailable: (503, "ServiceUnavailableException", "Service unavailable"),
}
_UNFORESEEN = (500, "InternalFailureException", "Internal failure")


def success(credentials: Credentials) -> Response[str]:
    """The 200. `expiration` in the `Z` form: an epoch is silently read as "never refresh".

    Raises AnswerTooLarge: awscrt aborts above 2,048 bytes.
    """
    body = json.dumps({"credentials": members(credentials)}, separators=(",", ":"))
    check_answer(body)
    return Response(200, "application/json", body, {"Cache-Control": "no-store"})


def members(credentials: Credentials) -> dict[str, str]:
    """Credentials as AWS IoT names them."""
    return {
        "accessKeyId": credentials.access_key_id,
        "secretAccessKey": credentials.secret_access_key,
        "sessionToken": credentials.session_token,
        "expiration": iso(credentials.expiration),
    }


def failure(error: errors.FirstbootError, request_id: str) -> Response[str]:
    """The error AWS IoT would give for this one."""
    status, kind, message = next(
        (answer for known, answer in _ANSWERS.items() if isinstance(error, known)), _UNFORESEEN
    )
    headers = {"x-amzn-ErrorType": kind, "x-amzn-RequestId": request_id, "Cache-Control": "no-store"}
    return Response(status, "application/json", json.dumps({"message": message}), headers)
