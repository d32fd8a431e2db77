"""Errors of asking for a certificate."""

from __future__ import annotations

from firstboot.domain.errors import Action, AuthorizationError, LimitError, RequestError


class UnsupportedMediaType(RequestError):
    code = "unsupported-media-type"
    status = 415
    title = "Send application/json or application/pkcs10"


class ClaimKeyRefused(RequestError):
    code = "claim-key-refused"
    title = "The CSR carries the shared claim certificate's own key"


class EnrollmentFrozen(AuthorizationError):
    code = "enrollment-frozen"
    action = Action.WAIT
    title = "The group takes no enrollments until an operator has looked"


class EnrollmentBudgetSpent(LimitError):
    code = "enrollment-budget-spent"
    status = 403
    action = Action.STOP
    title = "The group has enrolled as many devices as it may"


class EnrollmentRateExceeded(LimitError):
    code = "enrollment-rate-exceeded"
    title = "The group enrolls as many devices a minute as it may"


class ReenrollmentRateExceeded(LimitError):
    code = "reenrollment-rate-exceeded"
    title = "The device enrolls as often a day as it may"
