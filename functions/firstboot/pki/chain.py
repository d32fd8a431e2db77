"""Parse and verify client certificates and trust anchors.

Verification is exact about what was signed and by which key. About form it is no stricter than RFC 5280
asks of a receiver, because the certificates of factories vary in form.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
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
from firstboot.pki.errors import (
    AnchorConflict,
    CertificateKeyWeak,
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateUntrusted,
    CertificateUsageWrong,
)

MAX_INTERMEDIATES = 2
"""Intermediates in a chain. API Gateway's mTLS accepts four certificates: the leaf, two intermediates, the
root."""

RSA_BITS = range(2048, 4097)
"""Sizes of RSA keys. Any caller can send a key, and a signature check with a very large one takes long."""
MAX_PEM = 16_384
"""Characters of a certificate as text. A longer text is refused before it is parsed."""


def parse(pem: str) -> x509.Certificate:
    """Return the certificate in `pem`, unverified.

    Raises CertificateMalformed.
    """
    if len(pem) > MAX_PEM:
        raise CertificateMalformed(log=f"{len(pem)} characters")
    return _parsed(lambda: x509.load_pem_x509_certificate(pem.encode()))


def parse_der(der: bytes) -> x509.Certificate:
    """Return the certificate in `der`, unverified.

    Raises CertificateMalformed.
    """
    return _parsed(lambda: x509.load_der_x509_certificate(der))


def parse_text(text: str) -> x509.Certificate:
    """Return the certificate in `text` (PEM, or base64 of the DER), unverified.

    Raises CertificateMalformed.
    """
    if text.lstrip().startswith("-----"):
        return parse(text)
    if len(text) > MAX_PEM:
        raise CertificateMalformed(log=f"{len(text)} characters")
    try:
        return parse_der(base64.b64decode("".join(text.split()), validate=True))
    except ValueError as error:
        raise CertificateMalformed(log=repr(error)) from error


# The library raises all of these for malformed certificates, which any caller can send.
_UNPARSABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion)


def _parsed(load: Callable[[], x509.Certificate]) -> x509.Certificate:
    try:
        certificate = load()
        # The library parses both lazily. Reading them here refuses a malformed part here, not at a later use.
        _ = certificate.extensions, certificate.public_key()
    except _UNPARSABLE as error:
        raise CertificateMalformed(log=repr(error)) from error
    return certificate


anchor = lru_cache(maxsize=256)(parse)
"""`parse` with a cache, for trust anchors: every request needs the same ones."""


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the DER in lower-case hex, which is AWS IoT's certificateId."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether `issuer`'s key signed `certificate`, and the names of the two certificates agree."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def verify(
    leaf: x509.Certificate,
    anchors: list[x509.Certificate],
    now: datetime,
    intermediates: Sequence[x509.Certificate] = (),
) -> x509.Certificate:
    """Verify a client certificate (RFC 5280 section 6) and return the anchor it chains to.

    The caller sent `intermediates` with the certificate; none of them is trusted by itself.
    Raises CertificateUsageWrong, CertificateKeyWeak, CertificateExpired, CertificateNotYetValid,
    CertificateUntrusted.
    """
    if not key_is_strong(leaf.public_key()):
        raise CertificateKeyWeak(log=repr(leaf.public_key()))
    verifier = (
        PolicyBuilder()
        .store(Store(anchors))
        .time(now)
        .max_chain_depth(MAX_INTERMEDIATES)
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        .build_client_verifier()
    )
    try:
        return verifier.verify(leaf, list(intermediates)).chain[-1]
    except VerificationError as error:
        raise _reason(leaf, now)(log=str(error)) from error


def key_is_strong(key: object) -> bool:
    """Return whether `key` is a public key on P-256 or P-384, or an RSA key of 2,048 to 4,096 bits.

    The library's verifier does not check the key of a leaf.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    return isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS


def common_name(certificate: x509.Certificate) -> str:
    """Return the common name in the subject.

    Raises CertificateMalformed if there is none or more than one: a device must have one name.
    """
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or not isinstance(names[0].value, str):
        raise CertificateMalformed("The certificate's subject must have one common name")
    return names[0].value


def check_anchors(anchors: list[x509.Certificate], ca: x509.Certificate) -> None:
    """Refuse factory anchors that have `ca`'s key, issued `ca` or were issued by it.

    Such an anchor could admit operational certificates as bootstrap certificates.
    Raises AnchorConflict.
    """
    for certificate in anchors:
        same_key = certificate.public_key() == ca.public_key()
        if same_key or issued_by(ca, certificate) or issued_by(certificate, ca):
            raise AnchorConflict(log=certificate.subject.rfc4514_string())


def _is_client_leaf(leaf: x509.Certificate) -> bool:
    """Return whether the leaf is no CA, may make signatures and is meant for client authentication.

    Without keyUsage a leaf may be used for anything (RFC 5280 section 4.2.1.3). Client authentication in TLS
    makes a signature, so a keyUsage must allow signatures.
    """
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


def _issuer_signs(_: Policy, __: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage and not usage.key_cert_sign:
        raise ValueError("an issuer without keyCertSign")


# The library's default policy for clients requires a SAN, which factory certificates lack, and accepts a
# missing extended key usage. Its default policy for CAs requires a keyUsage, which roots of `openssl req
# -x509` lack.
_LEAF_POLICY = (
    ExtensionPolicy.permit_all()
    .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, None)
    .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _check_leaf)
)
_CA_POLICY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _issuer_is_a_ca)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _issuer_signs)
)


def _reason(leaf: x509.Certificate, now: datetime) -> type[AuthenticationError]:
    """Return the error that best describes a refusal. The verifier has already decided."""
    if now < leaf.not_valid_before_utc:
        return CertificateNotYetValid
    if now > leaf.not_valid_after_utc:
        return CertificateExpired
    if not _is_client_leaf(leaf):
        return CertificateUsageWrong
    return CertificateUntrusted
