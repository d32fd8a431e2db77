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
    """Return an operational certificate, verified under our issuing CA (RFC 5280 section 6).

    Return None for a certificate that `ca` did not issue, also if cryptography can't read it. Raises
    CertificateMalformed, CertificateUsageWrong, CertificateExpired, CertificateNotYetValid,
    CertificateUntrusted. The certificate may be the twin of the stored one (see `forms`), so its fingerprint
    identifies nothing.
    """
    verifier = (
        PolicyBuilder()
        .store(Store([ca]))
        .time(now)
        .max_chain_depth(0)
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        .build_client_verifier()
    )
    try:
        found = leaf.to_cryptography()
        verifier.verify(found, [])
    except CertificateMalformed:
        return None
    except VerificationError as refusal:
        # The verifier checks the signature too, so only a refused certificate has it checked twice.
        if not issued_by(leaf, ca):
            return None
        raise _reason(found, now)(log=str(refusal)) from refusal
    return found


def issued_by(leaf: Certificate, ca: x509.Certificate) -> bool:
    """Return whether `ca`'s key signed the certificate and the names agree."""
    try:
        leaf.to_cryptography().verify_directly_issued_by(ca)
    except (CertificateMalformed, InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def common_name(certificate: x509.Certificate) -> str:
    """Return the subject's one common name.

    Raises CertificateMalformed.
    """
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    # cryptography raises these for a name that it can't read.
    except (ValueError, TypeError) as error:
        raise CertificateMalformed(log=repr(error)) from error
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
    try:
        is_client_leaf = _is_client_leaf(leaf)
    # cryptography raises these for an extension that it can't read.
    except (ValueError, TypeError, x509.UnsupportedGeneralNameType):
        return CertificateMalformed
    return CertificateUntrusted if is_client_leaf else CertificateUsageWrong
