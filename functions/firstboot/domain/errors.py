"""The one tree of domain errors.

Each leaf has a stable `code`, an HTTP `status`, an `action` for the device and a row in
docs/protocol.md. Only `edge/` turns them into responses.

    FirstbootError
    ├── RequestError            what was sent can't be read
    │   ├── MalformedRequest · MalformedJson · BodyTooLarge · UnsupportedMediaType
    │   ├── RouteNotFound · MethodNotAllowed
    │   ├── MalformedCsr · CsrSignatureInvalid · CsrKeyRefused · ClaimKeyRefused
    │   └── DeviceIdInvalid · DeviceIdRequired
    ├── AuthenticationError     the caller proves nothing
    │   ├── ProofRequired · PrincipalMismatch · CertificateMalformed · CertificateUntrusted
    │   ├── CertificateUsageWrong · CertificateKeyWeak · CertificateNotYetValid · CertificateExpired
    │   ├── BootstrapExpired
    │   └── ProofError          the signed proof is not one for this call
    │       └── ProofMalformed · ProofSignatureInvalid · ProofMismatch · ProofStale · ProofReplayed
    │           · CertificateUnknown
    ├── AuthorizationError      we know who it is; it may not
    │   ├── OperationalCertificateRequired · DeviceIdMismatch · DeviceNotExpected
    │   ├── CertificateNotCurrent · CertificateForged · DeviceRevoked · EnrollmentClosed
    │   └── EnrollmentFrozen · ThingNameMismatch · NoGrant
    ├── ConflictError           the registry says otherwise
    │   └── AlreadyEnrolled · EnrollmentInProgress · GroupMismatch · KeyInUse
    ├── LimitError              too much, for now
    │   └── EnrollmentBudgetSpent · EnrollmentRateExceeded · ReenrollmentRateExceeded
    ├── VendingError            the session can't be made
    │   ├── RoleAliasNotFound · SessionPolicyTooLarge · AnswerTooLarge
    │   └── RoleNotAssumable · DurationTooLong
    ├── TokenError              no connection with this token; the log has why, the device does not
    │   ├── TokenMissing · TokenMalformed · TokenUntrusted · TokenAudienceWrong · TokenExpired
    │   ├── TokenNotYetValid · TokenEndsTooSoon · TokenSubjectMismatch · TokenDeviceUnknown
    │   └── TokenGroupRefused · IssuerUnavailable · PoliciesTooLarge
    ├── OperatorError           an operator's call can't be done
    │   ├── OperationUnknown · DeviceNotFound · AttributesInvalid · GroupNotFound · BudgetMissing
    │   └── FleetInvalid · FleetOutdated · FleetNeedsDeployment
    ├── AuthorityError          the CA must not be touched (a deployment fails with it)
    │   ├── AuthorityKeyChanged · AuthorityKeyUnfit · AuthorityTermsChanged
    │   └── AnchorConflict
    ├── Unavailable             AWS did not do its part; nothing is lost
    └── InternalError           a fault of ours; the log has it, the answer does not
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


class UnsupportedMediaType(RequestError):
    code = "unsupported-media-type"
    status = 415
    title = "Send application/json or application/pkcs10"


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


class MalformedCsr(RequestError):
    code = "malformed-csr"
    title = "The CSR can't be parsed"


class CsrSignatureInvalid(RequestError):
    code = "csr-signature-invalid"
    title = "The CSR is not signed by the key it carries"


class CsrKeyRefused(RequestError):
    code = "csr-key-refused"
    title = "The CSR's key must be P-256, P-384 or RSA of 2048 to 4096 bits"


class DeviceIdInvalid(RequestError):
    code = "device-id-invalid"
    title = "The device id is not a valid name"


class DeviceIdRequired(RequestError):
    code = "device-id-required"
    title = "The certificate is shared: name the device in `deviceId`"


class ClaimKeyRefused(RequestError):
    code = "claim-key-refused"
    title = "The CSR carries the shared claim certificate's own key"


class AuthenticationError(FirstbootError):
    status = 401


class ProofRequired(AuthenticationError):
    code = "proof-required"
    title = "Present a client certificate, or a signed proof"


class PrincipalMismatch(AuthenticationError):
    code = "principal-mismatch"
    title = "The certificate in `bootstrap` is not the connection's"


class CertificateMalformed(AuthenticationError):
    code = "certificate-malformed"
    title = "The client certificate can't be parsed"


class CertificateUntrusted(AuthenticationError):
    code = "certificate-untrusted"
    title = "The client certificate chains to no trusted issuer"


class CertificateUsageWrong(AuthenticationError):
    code = "certificate-usage-wrong"
    title = "The client certificate is not one for client authentication"


class CertificateKeyWeak(AuthenticationError):
    code = "certificate-key-weak"
    title = "The client certificate's key must be P-256, P-384 or RSA of at least 2048 bits"


class CertificateNotYetValid(AuthenticationError):
    code = "certificate-not-yet-valid"
    action = Action.WAIT
    title = "The client certificate is not valid yet"


class CertificateExpired(AuthenticationError):
    code = "certificate-expired"
    action = Action.REENROLL
    title = "The operational certificate has expired"


class BootstrapExpired(AuthenticationError):
    code = "bootstrap-expired"
    title = "The bootstrap certificate has expired"


class ProofError(AuthenticationError):
    status = 401


class ProofMalformed(ProofError):
    code = "proof-malformed"
    title = "The signed proof is not of the kind that is taken here"


class ProofSignatureInvalid(ProofError):
    code = "proof-signature-invalid"
    title = "The signed proof is not signed by its certificate's key"


class ProofMismatch(ProofError):
    code = "proof-mismatch"
    title = "The signed proof is for another call"


class CertificateUnknown(ProofError):
    code = "certificate-unknown"
    action = Action.RETRY
    title = "No certificate of ours with that thumbprint has logged in: send it as x5c"


class ProofStale(ProofError):
    """`nonce` is a fresh one, to sign the next proof with (RFC 9449 section 8)."""

    code = "proof-stale"
    action = Action.RETRY
    title = "The signed proof is too old, or its nonce is: sign another with the nonce given here"

    def __init__(self, nonce: str, *, log: str = "") -> None:
        super().__init__(log=log)
        self.nonce = nonce


class ProofReplayed(ProofError):
    code = "proof-replayed"
    action = Action.RETRY
    title = "The signed proof has been used: sign another, with another `jti`"


class AuthorizationError(FirstbootError):
    status = 403


class OperationalCertificateRequired(AuthorizationError):
    code = "operational-certificate-required"
    action = Action.REENROLL
    title = "This call takes an operational certificate"


class DeviceIdMismatch(AuthorizationError):
    code = "device-id-mismatch"
    title = "The certificate names another device"


class CertificateNotCurrent(AuthorizationError):
    code = "certificate-not-current"
    action = Action.REENROLL
    title = "The certificate is not, or no longer, this device's"


class CertificateForged(AuthorizationError):
    code = "certificate-forged"
    title = "The certificate is not the one that was issued"


class DeviceRevoked(AuthorizationError):
    code = "device-revoked"
    title = "The device has been revoked"


class DeviceNotExpected(AuthorizationError):
    code = "device-not-expected"
    title = "No such device is expected in the group"


class EnrollmentClosed(AuthorizationError):
    code = "enrollment-closed"
    title = "The group takes no enrollments any more"


class EnrollmentFrozen(AuthorizationError):
    code = "enrollment-frozen"
    action = Action.WAIT
    title = "The group takes no enrollments until an operator has looked"


class ThingNameMismatch(AuthorizationError):
    code = "thing-name-mismatch"
    title = "The thing name is not the certificate's device"


class NoGrant(AuthorizationError):
    code = "no-grant"
    action = Action.WAIT
    title = "No rule gives this device anything here"


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


class VendingError(FirstbootError):
    status = 400


class RoleAliasNotFound(VendingError):
    code = "role-alias-not-found"
    status = 404
    title = "The role alias does not exist"


class SessionPolicyTooLarge(VendingError):
    code = "session-policy-too-large"
    title = "The device's grants don't fit a session policy"


class AnswerTooLarge(VendingError):
    code = "answer-too-large"
    status = 500
    title = "The credentials don't fit an answer"


class RoleNotAssumable(VendingError):
    code = "role-not-assumable"
    title = "The role can't be assumed"


class DurationTooLong(VendingError):
    code = "duration-too-long"
    title = "The role alias's duration exceeds the role's maximum"


class TokenError(FirstbootError):
    status = 401


class TokenMissing(TokenError):
    code = "token-missing"
    title = "The connection brings no token"


class TokenMalformed(TokenError):
    code = "token-malformed"
    title = "The token is not of the kind that is taken here"


class TokenUntrusted(TokenError):
    code = "token-untrusted"
    title = "The token is not signed by an issuer of the fleet"


class TokenAudienceWrong(TokenError):
    code = "token-audience-wrong"
    title = "The token is for another audience"


class TokenExpired(TokenError):
    code = "token-expired"
    title = "The token has expired"


class TokenNotYetValid(TokenError):
    code = "token-not-yet-valid"
    title = "The token is not valid yet"


class TokenEndsTooSoon(TokenError):
    code = "token-ends-too-soon"
    title = "The token ends before the shortest connection AWS IoT makes"


class TokenSubjectMismatch(TokenError):
    code = "token-subject-mismatch"
    title = "The token is another device's"


class TokenDeviceUnknown(TokenError):
    code = "token-device-unknown"
    status = 403
    title = "The token names no device of the fleet"


class TokenGroupRefused(TokenError):
    code = "token-group-refused"
    status = 403
    title = "The token's issuer does not speak for the device's group"


class IssuerUnavailable(TokenError):
    code = "issuer-unavailable"
    status = 503
    title = "The issuer's keys can't be had"


class PoliciesTooLarge(TokenError):
    code = "policies-too-large"
    status = 500
    title = "The device's grants don't fit AWS IoT's limits"


class OperatorError(FirstbootError):
    status = 400


class OperationUnknown(OperatorError):
    code = "operation-unknown"
    title = "There is no such operation"


class DeviceNotFound(OperatorError):
    code = "device-not-found"
    status = 404
    title = "There is no such device"


class AttributesInvalid(OperatorError):
    code = "attributes-invalid"
    title = "The attributes don't fit the fleet's schema"


class GroupNotFound(OperatorError):
    code = "group-not-found"
    status = 404
    title = "There is no such group"


class BudgetMissing(OperatorError):
    code = "budget-missing"
    status = 409
    title = "The group has no budget, so nothing counts or stops its enrollments"


class FleetInvalid(OperatorError):
    """`problems` are lines a person can act on, each naming its file."""

    code = "fleet-invalid"
    title = "The fleet definition has errors"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class FleetOutdated(OperatorError):
    code = "fleet-outdated"
    status = 409
    title = "The fleet definition builds on another deployment's"


class FleetNeedsDeployment(OperatorError):
    code = "fleet-needs-deployment"
    status = 409
    title = "This change needs a deployment"


class AuthorityError(FirstbootError):
    status = 500


class AuthorityKeyChanged(AuthorityError):
    code = "authority-key-changed"
    title = "The CA certificate belongs to another key"


class AuthorityTermsChanged(AuthorityError):
    code = "authority-terms-changed"
    title = "The CA was made with another name or for another time"


class AuthorityKeyUnfit(AuthorityError):
    code = "authority-key-unfit"
    title = "The CA's key in KMS is not one on P-256"


class AnchorConflict(AuthorityError):
    code = "anchor-conflict"
    title = "A factory trust anchor is, contains or hangs under the issuing CA"


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
