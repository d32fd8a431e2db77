"""Operational certificates: those of our issuing CA, which have one exact profile. Pure.

Bootstrap certificates come from other CAs and in other forms: see `bootstrap`.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from firstboot.domain.errors import AuthenticationError, CertificateExpired
from firstboot.pki import certificate
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import (
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateUntrusted,
    CertificateUsageWrong,
)


def parse(pem: str) -> x509.Certificate:
    """Return the certificate in `pem`, which Firstboot has stored: our CA's or a device's.

    Raises CertificateMalformed.
    """
    return certificate.parse_text(pem).to_cryptography()


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the DER in lower-case hex, which is AWS IoT's certificateId."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def verified(leaf: Certificate, ca: x509.Certificate, now: datetime) -> x509.Certificate | None:
    """Return an operational certificate, verified as by `verify`; None for one that `ca` did not issue.

    Raises what `verify` raises.
    """
    try:
        found = leaf.to_cryptography()
    except CertificateMalformed:
        return None
    refusal = _refusal(found, ca, now)
    if refusal is None:
        return found
    # The verifier checks the signature too, so only a refused certificate has it checked twice. The
    # extensions of another CA's certificate may be ones that can't be read, so no reason is looked for.
    if not issued_by(found, ca):
        return None
    raise _reason(found, now)(log=str(refusal)) from refusal


def issued(leaf: Certificate, ca: x509.Certificate) -> x509.Certificate | None:
    """Return `leaf`, or None for a certificate that `ca` did not issue.

    The certificate may be the twin of the stored one (see `forms`), so its fingerprint identifies nothing.
    """
    try:
        found = leaf.to_cryptography()
    except CertificateMalformed:
        return None
    return found if issued_by(found, ca) else None


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether `issuer`'s key signed `certificate` and the names agree."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def verify(leaf: x509.Certificate, ca: x509.Certificate, now: datetime) -> None:
    """Verify an operational certificate under our issuing CA (RFC 5280 section 6).

    Raises CertificateUsageWrong, CertificateExpired, CertificateNotYetValid, CertificateUntrusted.
    """
    refusal = _refusal(leaf, ca, now)
    if refusal:
        raise _reason(leaf, now)(log=str(refusal)) from refusal


def _refusal(leaf: x509.Certificate, ca: x509.Certificate, now: datetime) -> VerificationError | None:
    """Return why an operational certificate does not verify, or None if it does."""
    verifier = (
        PolicyBuilder()
        .store(Store([ca]))
        .time(now)
        .max_chain_depth(0)
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, [])
    except VerificationError as error:
        return error
    return None


def common_name(certificate: x509.Certificate) -> str:
    """Return the subject's one common name.

    Raises CertificateMalformed.
    """
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or not isinstance(names[0].value, str):
        raise CertificateMalformed("The certificate's subject must have one common name")
    return names[0].value


def _is_client_leaf(leaf: x509.Certificate) -> bool:
    """Return whether it is no CA, may sign (TLS client authentication does), and is meant for clients."""
    found = {type(extension.value): extension.value for extension in leaf.extensions}
    constraints = found.get(x509.BasicConstraints)
    usage = found.get(x509.KeyUsage)
    purposes = found.get(x509.ExtendedKeyUsage)
    return (
        not (isinstance(constraints, x509.BasicConstraints) and constraints.ca)
        and (not isinstance(usage, x509.KeyUsage) or (usage.digital_signature and not usage.key_cert_sign))
        and isinstance(purposes, x509.ExtendedKeyUsage)
        and ExtendedKeyUsageOID.CLIENT_AUTH in purposes
    )


def _check_leaf(_: Policy, leaf: x509.Certificate, __: x509.ExtendedKeyUsage) -> None:
    if not _is_client_leaf(leaf):
        raise ValueError("not a client's leaf certificate")


def _issuer_is_a_ca(_: Policy, __: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("an issuer that is no CA")


# The library's default client policy demands a SAN, which our certificates do not have, and accepts a leaf
# without EKU.
_LEAF_POLICY = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, None)
    .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_leaf)
)
_CA_POLICY = ExtensionPolicy.permit_all().require_present(
    x509.BasicConstraints, Criticality.AGNOSTIC, _issuer_is_a_ca
)


def _reason(leaf: x509.Certificate, now: datetime) -> type[AuthenticationError]:
    """Return the error that best tells why the verifier refused; it decides nothing."""
    if now < leaf.not_valid_before_utc:
        return CertificateNotYetValid
    if now > leaf.not_valid_after_utc:
        return CertificateExpired
    if not _is_client_leaf(leaf):
        return CertificateUsageWrong
    return CertificateUntrusted
