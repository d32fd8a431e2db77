"""Verify a bootstrap certificate: exact about what is signed and by whom, lenient about form. Pure.

1. The leaf is one for client authentication, by a strong key, signed with SHA-2.
2. Intermediates that are no CAs, or weak, are left out: none of them is trusted by itself.
3. OpenSSL finds a path to an anchor (see `path`).
4. The path has at most two intermediates, and its anchor is a CA and not the leaf itself.

Operational certificates have an exact profile and a verifier of their own, in `chain`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from firstboot.domain.clock import iso
from firstboot.domain.errors import CertificateExpired, Reason
from firstboot.pki import der, path, signature
from firstboot.pki.certificate import MAX_INTERMEDIATES, Certificate, Extension
from firstboot.pki.der import Element, NotDer
from firstboot.pki.errors import (
    CertificateKeyWeak,
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateUntrusted,
    CertificateUsageWrong,
)
from firstboot.pki.signature import AlgorithmRefused, KeyRefused

T = TypeVar("T")

BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE = "2.5.29.19", "2.5.29.15", "2.5.29.37"
_PROXY = "1.3.6.1.5.5.7.1.14"
_SERVER_AUTH, _CLIENT_AUTH, _ANY_USE = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "2.5.29.37.0"
_DIGITAL_SIGNATURE, _KEY_CERT_SIGN = 0, 5
"""Bits of keyUsage (RFC 5280 section 4.2.1.3), the first bit being 0."""


def verify(
    leaf: Certificate,
    anchors: Sequence[Certificate],
    now: datetime,
    intermediates: Sequence[Certificate] = (),
) -> list[Certificate]:
    """Return the path from the leaf to its anchor, both included.

    `intermediates` came with the certificate, in any order.
    Raises CertificateUsageWrong, CertificateKeyWeak, CertificateExpired, CertificateNotYetValid,
    CertificateUntrusted, CertificateMalformed.
    """
    _check_leaf(leaf, now)  # 1
    unfit = {each: reason for each in intermediates if (reason := unfit_issuer(each))}  # 2
    usable = [each for each in intermediates if each not in unfit]
    try:
        found = path.find(leaf, [each for each in anchors if each != leaf], usable, now)  # 3
    except path.NoPath as error:
        left_out = "".join(f"; {each.subject.text()} {reason}" for each, reason in unfit.items())
        raise _untrusted(error, left_out, anchors, (leaf, *usable)) from error
    if len(found) > MAX_INTERMEDIATES + 2:  # 4
        raise CertificateUntrusted(f"The path has more than {MAX_INTERMEDIATES} intermediate certificates")
    if reason := unfit_issuer(found[-1], is_anchor=True):
        raise CertificateUntrusted(f"The trust anchor {found[-1].subject.text()} {reason}")
    return found


def _untrusted(
    error: path.NoPath, left_out: str, anchors: Sequence[Certificate], sent: Sequence[Certificate]
) -> CertificateUntrusted:
    # OpenSSL checks the dates of a trust anchor before it knows that the anchor's key signed anything. A
    # sender that has no certificate of an anchor learns nothing about it but its name.
    concerns_anchor = error.certificate in anchors and error.certificate not in sent
    if concerns_anchor and not any(path.signed_by(each, error.certificate) for each in sent):
        return CertificateUntrusted("No path leads to a trust anchor", log=f"{error}{left_out}")
    return CertificateUntrusted(f"No path leads to a trust anchor: {error}{left_out}", reason=error.reason)


def _check_leaf(leaf: Certificate, now: datetime) -> None:
    try:
        usage = wrong_usage(leaf)
    except NotDer as error:
        raise CertificateMalformed(f"An extension of the certificate is not in DER: {error}") from error
    if usage:
        raise CertificateUsageWrong(usage)
    try:
        leaf.public_key()
    except KeyRefused as error:
        raise CertificateKeyWeak(f"The certificate has {error}") from error
    except NotDer as error:
        raise CertificateMalformed(f"The certificate's key is not in DER: {error}") from error
    if now < leaf.not_before:
        raise CertificateNotYetValid(f"The certificate is valid from {iso(leaf.not_before)}")
    if now > leaf.not_after:
        raise CertificateExpired(f"The certificate ended at {iso(leaf.not_after)}")
    if text := _weak_signature(leaf):
        raise CertificateUntrusted(f"The certificate {text}", reason=_weakness(leaf))
    if not path.is_readable(leaf):
        raise CertificateMalformed("OpenSSL cannot read the certificate")


def wrong_usage(leaf: Certificate) -> str | None:
    """Return why the certificate is not for client authentication, or None. Raises NotDer."""
    if is_ca(leaf):
        return "The certificate is a CA's (basicConstraints)"
    usage = _key_usage(leaf)
    if usage is not None and _DIGITAL_SIGNATURE not in usage:
        return "keyUsage does not have digitalSignature"
    if usage is not None and _KEY_CERT_SIGN in usage:
        return "keyUsage has keyCertSign"
    if not _allows_clients(leaf):
        return "extendedKeyUsage has neither clientAuth nor anyExtendedKeyUsage"
    return None


def unfit_issuer(issuer: Certificate, *, is_anchor: bool = False) -> str | None:
    """Return why a certificate cannot be an issuer on a path, or None."""
    try:
        usage = _key_usage(issuer)
        if issuer.version != 2 or not is_ca(issuer):
            return "is not a CA certificate (X.509 v3 with basicConstraints cA TRUE)"
        if usage is not None and _KEY_CERT_SIGN not in usage:
            return "may not sign certificates (keyUsage without keyCertSign)"
        if not _allows_clients(issuer):
            return "may not issue client certificates (extendedKeyUsage without clientAuth)"
        issuer.public_key()
    except (NotDer, KeyRefused) as error:
        return f"has {error}"
    if not path.is_readable(issuer):
        return "cannot be read by OpenSSL"
    # An anchor is trusted for its key. Its own signature says nothing.
    return None if is_anchor else _weak_signature(issuer)


def _weak_signature(certificate: Certificate) -> str | None:
    if certificate.serial_number < 0:
        return "has a negative serial number"
    if _PROXY in certificate.extensions:
        return "is a proxy certificate"
    try:
        signature.algorithm(certificate.algorithm)
    except (AlgorithmRefused, NotDer) as error:
        return f"is not signed with SHA-2: {error}"
    return None


def _weakness(certificate: Certificate) -> Reason:
    """Return the reason that goes with the text of `_weak_signature`."""
    if certificate.serial_number < 0:
        return Reason.CERTIFICATE_ENCODING
    is_proxy = _PROXY in certificate.extensions
    return Reason.CERTIFICATE_CONSTRAINT if is_proxy else Reason.CERTIFICATE_ALGORITHM


def has_extended_key_usage(certificate: Certificate) -> bool:
    """Return whether the certificate says what its key is for."""
    return EXTENDED_KEY_USAGE in certificate.extensions


def allows_servers(issuer: Certificate) -> bool:
    """Return whether a CA may also issue certificates for servers: no extendedKeyUsage forbids it."""
    return _allows(issuer, _SERVER_AUTH)


def is_ca(certificate: Certificate) -> bool:
    """Return whether basicConstraints says that it is a CA. Raises NotDer."""

    def read(constraints: Element) -> bool:
        return any(each.boolean() for each in constraints.children if each.tag == der.BOOLEAN)

    return _value(certificate, BASIC_CONSTRAINTS, read, default=False)


def allows_cas(issuer: Certificate) -> bool:
    """Return whether a CA may have CAs below it on a path: no pathLenConstraint of 0 forbids it."""

    def read(constraints: Element) -> bool:
        # RFC 5280 section 4.2.1.9: without a pathLenConstraint, any number is allowed.
        return not any(each.integer() == 0 for each in constraints.children if each.tag == der.INTEGER)

    return _value(issuer, BASIC_CONSTRAINTS, read, default=True)


def _key_usage(certificate: Certificate) -> frozenset[int] | None:
    def read(usage: Element) -> frozenset[int] | None:
        bits = "".join(f"{octet:08b}" for octet in usage.expect(der.BIT_STRING).content[1:])
        return frozenset(index for index, bit in enumerate(bits) if bit == "1")

    return _value(certificate, KEY_USAGE, read, default=None)


def _allows_clients(certificate: Certificate) -> bool:
    return _allows(certificate, _CLIENT_AUTH)


def _allows(certificate: Certificate, purpose: str) -> bool:
    def read(purposes: Element) -> bool:
        return bool({purpose, _ANY_USE} & {each.oid() for each in purposes.children})

    # RFC 5280 section 4.2.1.12: without the extension, any purpose is allowed.
    return _value(certificate, EXTENDED_KEY_USAGE, read, default=True)


def _value(certificate: Certificate, oid: str, read: Callable[[Element], T], default: T) -> T:
    extension: Extension | None = certificate.extensions.get(oid)
    try:
        return read(extension.read()) if extension else default
    except NotDer as error:
        raise NotDer(f"{oid}: {error}") from error
