"""Domain errors: the base classes, the errors that several packages share, and those that adapters raise.

The errors of one package are in its own `errors` module. Each has a stable `code`, an HTTP `status`, an
`action` for the device and a row in docs/protocol.md. Only `runtime` turns them into responses, and a
protocol's own module where the protocol has its own error shape.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Action(StrEnum):
    """What a device does about a refusal."""

    RETRY = "retry"  # the same request again, with back-off
    WAIT = "wait"  # the same request again, not before Retry-After
    STOP = "stop"  # a person must look; repeating changes nothing
    REENROLL = "reenroll"  # start over with the bootstrap certificate


class FirstbootError(Exception):
    """The root. Takes two messages: one to send, one to log.

    `detail` goes to the caller; it must hold nothing secret and nothing about other devices.
    `log` is for the operator only. `retry_after` is in seconds.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    action: ClassVar[Action] = Action.STOP
    title: ClassVar[str]

    def __init__(self, detail: str = "", *, log: str = "", retry_after: int | None = None) -> None:
        super().__init__(log or detail or self.title)
        self.detail = detail or self.title
        self.log = log or detail
        self.retry_after = retry_after


class RequestError(FirstbootError):
    status = 400


class DeviceIdInvalid(RequestError):
    code = "device-id-invalid"
    title = "The device id is not a valid name"


class AuthenticationError(FirstbootError):
    status = 401


class CertificateExpired(AuthenticationError):
    code = "certificate-expired"
    action = Action.REENROLL
    title = "The operational certificate has expired"


class ProofError(AuthenticationError):
    status = 401


class AuthorizationError(FirstbootError):
    status = 403


class CertificateNotCurrent(AuthorizationError):
    code = "certificate-not-current"
    action = Action.REENROLL
    title = "The certificate is not, or no longer, this device's"


class DeviceRevoked(AuthorizationError):
    code = "device-revoked"
    title = "The device has been revoked"


class DeviceNotExpected(AuthorizationError):
    code = "device-not-expected"
    title = "No such device is expected in the group"


class ConflictError(FirstbootError):
    status = 409


class AlreadyEnrolled(ConflictError):
    code = "already-enrolled"
    title = "The device has an identity, and its group does not replace it"


class EnrollmentInProgress(ConflictError):
    code = "enrollment-in-progress"
    action = Action.WAIT
    title = "Another key of this device is being certified"


class GroupMismatch(ConflictError):
    code = "group-mismatch"
    title = "The device belongs to another group"


class KeyInUse(ConflictError):
    code = "key-in-use"
    title = "The key belongs to another certificate"


class LimitError(FirstbootError):
    status = 429
    action = Action.WAIT


class VendingError(FirstbootError):
    status = 400


class RoleAliasNotFound(VendingError):
    code = "role-alias-not-found"
    status = 404
    title = "The role alias does not exist"


class SessionPolicyTooLarge(VendingError):
    code = "session-policy-too-large"
    title = "The device's grants don't fit a session policy"


class RoleNotAssumable(VendingError):
    code = "role-not-assumable"
    title = "The role can't be assumed"


class DurationTooLong(VendingError):
    code = "duration-too-long"
    title = "The role alias's duration exceeds the role's maximum"


class TokenError(FirstbootError):
    status = 401


class OperatorError(FirstbootError):
    status = 400


class DeviceNotFound(OperatorError):
    code = "device-not-found"
    status = 404
    title = "There is no such device"


class AuthorityError(FirstbootError):
    status = 500


class AuthorityKeyUnfit(AuthorityError):
    code = "authority-key-unfit"
    title = "The CA's key in KMS is not one on P-256"


class Unavailable(FirstbootError):
    code = "unavailable"
    status = 503
    action = Action.RETRY
    title = "A part of the service did not answer; nothing is lost"


class InternalError(FirstbootError):
    code = "internal-error"
    status = 500
    action = Action.RETRY
    title = "Something went wrong here"
