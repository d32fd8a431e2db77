"""Errors of identifying the caller."""

from __future__ import annotations

from firstboot.domain.errors import (
    Action,
    AuthenticationError,
    AuthorizationError,
    ProofError,
    Reason,
    RequestError,
)


class DeviceIdRequired(RequestError):
    code = "device-id-required"
    title = "The certificate is shared, so the request must have a `deviceId`"


class ProofRequired(AuthenticationError):
    code = "proof-required"
    title = "The request needs a client certificate or a signed proof"


class PrincipalMismatch(AuthenticationError):
    code = "principal-mismatch"
    title = "The certificate in `bootstrap` is not the connection's certificate"


class BootstrapExpired(AuthenticationError):
    code = "bootstrap-expired"
    title = "The bootstrap certificate has expired"
    reason = Reason.CERTIFICATE_DATES


class CertificateUnknown(ProofError):
    code = "certificate-unknown"
    action = Action.RETRY
    title = "The thumbprint is not known; send the certificate as x5c"


class ProofStale(ProofError):
    """The refusal of a proof that is not fresh. The next proof can use `nonce` (RFC 9449 section 8)."""

    code = "proof-stale"
    action = Action.RETRY
    title = "The signed proof's time or nonce is not current; sign another proof with this `nonce`"

    def __init__(self, nonce: str, detail: str = "", *, log: str = "") -> None:
        super().__init__(detail, log=log)
        self.nonce = nonce


class ProofReplayed(ProofError):
    code = "proof-replayed"
    action = Action.RETRY
    title = "The signed proof was used before; sign another with a new `jti`"


class OperationalCertificateRequired(AuthorizationError):
    code = "operational-certificate-required"
    action = Action.REENROLL
    title = "This call requires an operational certificate"


class DeviceIdMismatch(AuthorizationError):
    code = "device-id-mismatch"
    title = "The certificate names another device"


class CertificateForged(AuthorizationError):
    code = "certificate-forged"
    title = "The certificate is not the one that was issued"


class BootstrapRevoked(AuthorizationError):
    code = "bootstrap-revoked"
    title = "The bootstrap certificate has been revoked"


class EnrollmentClosed(AuthorizationError):
    code = "enrollment-closed"
    title = "The group is closed to enrollments"


class WayNotAllowed(AuthorizationError):
    code = "way-not-allowed"
    title = "The device's group does not allow this way of asking"
