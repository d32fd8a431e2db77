"""Domain errors: the base classes, the errors that several packages share, and those that adapters raise.

A package declares the errors that it alone raises in its own `errors` module. Each error has a stable `code`,
an HTTP `status`, an `action` for the device and a row in docs/protocol.md. `runtime` turns errors into
responses. A protocol that prescribes its own form of errors does so in its own module.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Action(StrEnum):
    """The reaction to a refusal that a device must implement."""

    RETRY = "retry"  # repeat the same request with back-off
    WAIT = "wait"  # repeat the same request, not before Retry-After
    STOP = "stop"  # repeat nothing: a person must act first
    REENROLL = "reenroll"  # enroll again with the bootstrap certificate


class Reason(StrEnum):
    """The cause of a refused certificate or CSR. One code may have several causes."""

    CERTIFICATE_ENCODING = "certificate-encoding"
    CERTIFICATE_ALGORITHM = "certificate-algorithm"
    CERTIFICATE_KEY = "certificate-key"
    CERTIFICATE_USAGE = "certificate-usage"
    CERTIFICATE_DATES = "certificate-dates"
    CERTIFICATE_PATH = "certificate-path"
    CERTIFICATE_SIGNATURE = "certificate-signature"
    CERTIFICATE_CONSTRAINT = "certificate-constraint"
    CERTIFICATE_NAME = "certificate-name"
    CSR_ENCODING = "csr-encoding"
    CSR_ALGORITHM = "csr-algorithm"
    CSR_KEY = "csr-key"
    CSR_SIGNATURE = "csr-signature"


class FirstbootError(Exception):
    """The base class of all domain errors. An error has a message for the caller and one for the log.

    `detail` is sent to the caller, so it must hold nothing secret and nothing about other devices. `log` is
    written to the operator's log only. `reason` is sent to the caller; without it the class's own is.
    `retry_after` is in seconds; None leaves the time to `runtime`. `slot` are the seconds until the caller's
    retry slot, which is its own, so `runtime` adds nothing to them. `metric` is the CloudWatch metric that
    counts the error; without it the class's name is. `is_early` marks one of the many refusals of a limit
    that the process knows to be reached.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    action: ClassVar[Action] = Action.STOP
    title: ClassVar[str]
    reason: Reason | None = None
    retry_after: int | None = None
    slot: int | None = None
    is_early: bool = False

    def __init__(
        self,
        detail: str = "",
        *,
        log: str = "",
        reason: Reason | None = None,
        retry_after: int | None = None,
        slot: int | None = None,
        metric: str | None = None,
    ) -> None:
        super().__init__(log or detail or self.title)
        self.detail = detail or self.title
        self.log = log or detail
        self.reason = reason or self.reason
        self.retry_after = retry_after
        self.slot = slot
        self.metric = metric or type(self).__name__


class RequestError(FirstbootError):
    """The request is invalid."""

    status = 400


class DeviceIdInvalid(RequestError):
    code = "device-id-invalid"
    title = "The device id is not a valid name"


class AuthenticationError(FirstbootError):
    """The caller has not proved its identity."""

    status = 401


class CertificateExpired(AuthenticationError):
    code = "certificate-expired"
    action = Action.REENROLL
    title = "The operational certificate has expired"
    reason = Reason.CERTIFICATE_DATES


class ProofError(AuthenticationError):
    """The signed proof is refused."""

    status = 401


class AuthorizationError(FirstbootError):
    """The caller is known and may not do this."""

    status = 403


class CertificateNotCurrent(AuthorizationError):
    code = "certificate-not-current"
    action = Action.REENROLL
    title = "The certificate is not a current certificate of this device"


class DeviceRevoked(AuthorizationError):
    code = "device-revoked"
    title = "The device has been revoked"


class DeviceNotExpected(AuthorizationError):
    """The one refusal of a name in a shared group, so that its holders can't find out which names exist.

    A device whose name is reserved by another key, or is expected a minute later, must come back by itself.
    """

    code = "device-not-expected"
    action = Action.WAIT
    title = "The group does not expect a device with this id"


class ConflictError(FirstbootError):
    """The request contradicts what is stored."""

    status = 409


class AlreadyEnrolled(ConflictError):
    code = "already-enrolled"
    title = "The device is enrolled, and its group refuses re-enrollment"


class BootstrapKeyChanged(ConflictError):
    code = "bootstrap-key-changed"
    title = "The device is bound to another bootstrap key"


class EnrollmentInProgress(ConflictError):
    code = "enrollment-in-progress"
    action = Action.WAIT
    title = "A certificate for another key of this device is pending"


class GroupMismatch(ConflictError):
    code = "group-mismatch"
    title = "The device belongs to another group"


class KeyInUse(ConflictError):
    code = "key-in-use"
    title = "The key belongs to another device's certificate"


class LimitError(FirstbootError):
    """A limit is reached for now."""

    status = 429
    action = Action.WAIT


class RenewalRateExceeded(LimitError):
    code = "renewal-rate-exceeded"
    title = "The device has reached its limit of renewals a day"


class VendingError(FirstbootError):
    """Credentials cannot be vended."""

    status = 400


class RoleAliasNotFound(VendingError):
    code = "role-alias-not-found"
    status = 404
    title = "The role alias does not exist"


class SessionPolicyTooLarge(VendingError):
    code = "session-policy-too-large"
    title = "The device's grants exceed the size of a session policy"


class RoleNotAssumable(VendingError):
    code = "role-not-assumable"
    title = "The role cannot be assumed"


class DurationTooLong(VendingError):
    code = "duration-too-long"
    title = "The role alias's duration exceeds the role's maximum"


class TokenError(FirstbootError):
    """The token is refused. Only the log tells why, since AWS IoT tells the device nothing."""

    status = 401


class OperatorError(FirstbootError):
    """An operator's call or fleet definition is refused."""

    status = 400


class DeviceNotFound(OperatorError):
    code = "device-not-found"
    status = 404
    title = "There is no such device"


class AuthorityError(FirstbootError):
    """The issuing CA cannot be made or kept, so the deployment fails."""

    status = 500


class AuthorityKeyUnfit(AuthorityError):
    code = "authority-key-unfit"
    title = "The CA's key in KMS is not a P-256 key"


class Unavailable(FirstbootError):
    """AWS did not answer a call. `is_throttled` says whether it refused the call as one of too many."""

    code = "unavailable"
    status = 503
    action = Action.RETRY
    title = "A part of the service did not answer; repeat the request"

    def __init__(
        self,
        detail: str = "",
        *,
        log: str = "",
        retry_after: int | None = None,
        slot: int | None = None,
        metric: str | None = None,
        is_throttled: bool = False,
    ) -> None:
        super().__init__(detail, log=log, retry_after=retry_after, slot=slot, metric=metric)
        self.is_throttled = is_throttled


class InternalError(FirstbootError):
    code = "internal-error"
    status = 500
    action = Action.RETRY
    title = "An internal error occurred"
