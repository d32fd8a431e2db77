"""Errors of finding out who is calling."""

from __future__ import annotations

from firstboot.domain.errors import Action, AuthenticationError, AuthorizationError, ProofError, RequestError


class DeviceIdRequired(RequestError):
    code = "device-id-required"
    title = "The certificate is shared: name the device in `deviceId`"


class ProofRequired(AuthenticationError):
    code = "proof-required"
    title = "Present a client certificate, or a signed proof"


class PrincipalMismatch(AuthenticationError):
    code = "principal-mismatch"
    title = "The certificate in `bootstrap` is not the connection's"


class BootstrapExpired(AuthenticationError):
    code = "bootstrap-expired"
    title = "The bootstrap certificate has expired"


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


class OperationalCertificateRequired(AuthorizationError):
    code = "operational-certificate-required"
    action = Action.REENROLL
    title = "This call takes an operational certificate"


class DeviceIdMismatch(AuthorizationError):
    code = "device-id-mismatch"
    title = "The certificate names another device"


class CertificateForged(AuthorizationError):
    code = "certificate-forged"
    title = "The certificate is not the one that was issued"


class EnrollmentClosed(AuthorizationError):
    code = "enrollment-closed"
    title = "The group takes no enrollments any more"
