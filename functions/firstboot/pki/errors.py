"""Errors of parsing and verifying certificates, CSRs, proofs and tokens."""

from __future__ import annotations

from firstboot.domain.errors import (
    Action,
    AuthenticationError,
    AuthorityError,
    ProofError,
    Reason,
    RequestError,
    TokenError,
)


class MalformedCsr(RequestError):
    code = "malformed-csr"
    title = "The CSR cannot be parsed"
    reason = Reason.CSR_ENCODING


class CsrSignatureInvalid(RequestError):
    code = "csr-signature-invalid"
    title = "The CSR is not signed by the key it carries"
    reason = Reason.CSR_SIGNATURE


class CsrKeyRefused(RequestError):
    code = "csr-key-refused"
    title = "The CSR's key must be P-256, P-384 or RSA of 2048 to 4096 bits"
    reason = Reason.CSR_KEY


class CertificateMalformed(AuthenticationError):
    code = "certificate-malformed"
    title = "The client certificate cannot be parsed"
    reason = Reason.CERTIFICATE_ENCODING


class CertificateUntrusted(AuthenticationError):
    code = "certificate-untrusted"
    title = "The client certificate does not chain to a trusted issuer"
    reason = Reason.CERTIFICATE_PATH


class CertificateUsageWrong(AuthenticationError):
    code = "certificate-usage-wrong"
    title = "The client certificate does not allow client authentication"
    reason = Reason.CERTIFICATE_USAGE


class CertificateKeyWeak(AuthenticationError):
    code = "certificate-key-weak"
    title = "The client certificate's key must be P-256, P-384 or RSA of at least 2048 bits"
    reason = Reason.CERTIFICATE_KEY


class CertificateNotYetValid(AuthenticationError):
    code = "certificate-not-yet-valid"
    action = Action.WAIT
    title = "The client certificate is not valid yet"
    reason = Reason.CERTIFICATE_DATES


class ProofMalformed(ProofError):
    code = "proof-malformed"
    title = "The signed proof is malformed or of an unsupported kind"


class ProofSignatureInvalid(ProofError):
    code = "proof-signature-invalid"
    title = "The signed proof is not signed by its certificate's key"


class ProofMismatch(ProofError):
    code = "proof-mismatch"
    title = "The signed proof was made for another request"


class TokenMalformed(TokenError):
    code = "token-malformed"
    title = "The token is malformed or of an unsupported kind"


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


class AnchorConflict(AuthorityError):
    code = "anchor-conflict"
    title = "A factory trust anchor has the issuing CA's key, issued it or was issued by it"
