"""Errors of asking for a certificate."""

from __future__ import annotations

from firstboot.domain.errors import Action, AuthorizationError, LimitError, RequestError


class UnsupportedMediaType(RequestError):
    code = "unsupported-media-type"
    status = 415
    title = "The content type is neither application/json nor application/pkcs10"


class ClaimKeyRefused(RequestError):
    code = "claim-key-refused"
    title = "The CSR has the key of the shared claim certificate"


class ApiVersionUnsupported(RequestError):
    code = "api-version-unsupported"
    title = "The query has no supported api-version"


class OperationNotFound(RequestError):
    code = "operation-not-found"
    status = 404
    title = "The device has no such registration"


class EnrollmentFrozen(AuthorizationError):
    code = "enrollment-frozen"
    action = Action.WAIT
    title = "The group is frozen and enrolls no device until an operator thaws it"


class EnrollmentBudgetSpent(LimitError):
    code = "enrollment-budget-spent"
    status = 403
    action = Action.STOP
    title = "The group's enrollment budget is used up"


class EnrollmentRateExceeded(LimitError):
    code = "enrollment-rate-exceeded"
    title = "The group has reached its limit of enrollments a minute"


class ReenrollmentRateExceeded(LimitError):
    code = "reenrollment-rate-exceeded"
    title = "The device has reached its limit of enrollments a day"


class EstNotOffered(RequestError):
    code = "est-not-offered"
    status = 404
    title = "This optional operation of EST is not offered"
