"""Path validation by OpenSSL (RFC 5280 section 6), behind one function.

pyOpenSSL's maintainers advise to use cryptography's verifier where it serves. It does not serve here: of 31
good certificates from the field it takes 12, because it cannot read the rest. docs/decisions has the
measurements. Everything that OpenSSL gets to see has been read by `certificate` first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from weakref import WeakKeyDictionary

from OpenSSL import crypto

from firstboot.domain.clock import iso
from firstboot.domain.errors import Reason
from firstboot.pki import signature
from firstboot.pki.certificate import Certificate
from firstboot.pki.der import NotDer
from firstboot.pki.outline import Outline

MAX_TRIES = 8
"""Searches for one path. Each but the first leaves out issuers whose key did not sign."""

# Numbers of OpenSSL's errors (X509_V_ERR_… in x509_vfy.h), by what they mean to a sender.
_SIGNATURE_FAILURE = 7
_NO_ISSUER = {2, 20, 21}
_UNKNOWN_EXTENSION = 34
_DATES = {9, 10, 13, 14}
_REASONS = {
    Reason.CERTIFICATE_SIGNATURE: {_SIGNATURE_FAILURE},
    Reason.CERTIFICATE_DATES: _DATES,
    Reason.CERTIFICATE_KEY: {6, 24, 66, 67},
    Reason.CERTIFICATE_ALGORITHM: {68, 76, 77, 78},
    # Path lengths, critical extensions, uses of an issuer's key, and names.
    Reason.CERTIFICATE_CONSTRAINT: {
        25,
        26,
        32,
        _UNKNOWN_EXTENSION,
        *range(37, 44),
        *range(46, 54),
        72,
        79,
        80,
    },
}

_TEXTS = {
    18: "is self-signed, and is no trust anchor",
    19: "is self-signed, and is no trust anchor",
    25: "allows fewer CAs below it on a path (pathLenConstraint)",
    47: "has a name outside those that an issuer's name constraints permit",
    48: "has a name that an issuer's name constraints exclude",
}
"""Clearer texts than OpenSSL's for some of its errors."""


class NoPath(Exception):
    """No path leads to a trust anchor. The message says what is wrong with `certificate`, which the sender or
    an operator chose.
    """

    def __init__(self, text: str, reason: Reason, certificate: Certificate) -> None:
        super().__init__(f"{certificate.subject.text() or 'A certificate without a subject'} {text}")
        self.reason = reason
        self.certificate = certificate


def find(
    leaf: Certificate, anchors: Sequence[Certificate], intermediates: Sequence[Certificate], at: datetime
) -> list[Certificate]:
    """Return the path from `leaf` to one of `anchors`, both included, valid at the time `at`.

    OpenSSL checks names, signatures, dates, basic and name constraints, path lengths, the key usage of
    issuers, and that it knows each critical extension. Raises NoPath.
    """
    everything = {each.der: each for each in (*anchors, *intermediates, leaf)}
    left_out: set[bytes] = set()
    for _ in range(MAX_TRIES):
        roots, others = (
            [each for each in some if each.der not in left_out] for some in (anchors, intermediates)
        )
        try:
            return [everything[each] for each in _verified(leaf, roots, others, at)]
        except crypto.X509StoreContextError as error:
            failed = everything[_encoded(error.certificate)]
            # OpenSSL takes the first issuer whose name fits and does not look further when that one's key
            # did not sign. Two factory CAs may have one name, so the search goes on without the wrong ones.
            strangers = _strangers(failed, everything.values()) - left_out
            if error.errors[0] != _SIGNATURE_FAILURE or not strangers:
                raise _no_path(failed, error, everything.values()) from error
            left_out |= strangers
    raise NoPath(f"has no path within {MAX_TRIES} searches", Reason.CERTIFICATE_PATH, leaf)


def _no_path(
    failed: Certificate, error: crypto.X509StoreContextError, candidates: Iterable[Certificate]
) -> NoPath:
    number, _, text = error.errors[:3]
    text = _TEXTS.get(number, text)
    if number in (*_NO_ISSUER, _SIGNATURE_FAILURE):
        return _no_issuer(failed, candidates)
    if number in _DATES:
        text = f"is valid from {iso(failed.not_before)} to {iso(failed.not_after)}"
    if number == _UNKNOWN_EXTENSION:
        critical = (oid for oid, extension in failed.extensions.items() if extension.critical)
        text = f"has a critical extension that is not known; critical are {', '.join(critical)}"
    found = (reason for reason, numbers in _REASONS.items() if number in numbers)
    return NoPath(text, next(found, Reason.CERTIFICATE_PATH), failed)


def _no_issuer(failed: Certificate, candidates: Iterable[Certificate]) -> NoPath:
    # OpenSSL says the same of an unknown name, of a name with another key identifier, and of issuers of the
    # name that have all been left out.
    name, issuer = failed.issuer.canonical(), failed.issuer.text()
    namesakes = [each for each in candidates if each.subject.canonical() == name and each != failed]
    if not namesakes:
        text = f"has the issuer {issuer}. No trust anchor and no CA certificate sent with it has that name"
        return NoPath(text, Reason.CERTIFICATE_PATH, failed)
    if any(signed_by(failed, each) for each in namesakes):
        text = f"is signed by {issuer}, but its authorityKeyIdentifier names another certificate"
        return NoPath(text, Reason.CERTIFICATE_PATH, failed)
    text = f"is not signed by the key of any {issuer} known here"
    return NoPath(text, Reason.CERTIFICATE_SIGNATURE, failed)


def _verified(
    leaf: Certificate, anchors: Sequence[Certificate], intermediates: Sequence[Certificate], at: datetime
) -> list[bytes]:
    """Return the path that OpenSSL finds. Raises X509StoreContextError."""
    store = crypto.X509Store()
    # Any CA may be the anchor, also one that another CA has issued (RFC 5280 section 6.1.1).
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(at)
    for each in anchors:
        store.add_cert(_loaded(each))
    context = crypto.X509StoreContext(store, _loaded(leaf), [_loaded(each) for each in intermediates])
    return [_encoded(each) for each in context.get_verified_chain()]


def is_readable(certificate: Certificate) -> bool:
    """Return whether OpenSSL can read the certificate too. It reads more of it than `certificate` does."""
    try:
        _loaded(certificate)
    except crypto.Error:
        return False
    return True


def issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Return whether `issuer`'s key signed `certificate` and the names agree."""
    return certificate.issuer.canonical() == issuer.subject.canonical() and signed_by(certificate, issuer)


def signed_by(certificate: Outline, issuer: Certificate) -> bool:
    """Return whether `issuer`'s key signed `certificate`."""
    try:
        key = issuer.public_key()
        algorithm = signature.algorithm(certificate.algorithm)
    except (signature.KeyRefused, signature.AlgorithmRefused, NotDer):
        return False
    return signature.is_valid(key, certificate.signed, certificate.signature, algorithm)


def _strangers(certificate: Certificate, candidates: Iterable[Certificate]) -> set[bytes]:
    """Return those that have the name of `certificate`'s issuer and did not sign it."""
    name = certificate.issuer.canonical()
    namesakes = [each for each in candidates if each.subject.canonical() == name]
    return {each.der for each in namesakes if not signed_by(certificate, each)}


# A loaded certificate is kept as long as the parsed one. `certificate.anchor` remembers the trust anchors.
# A sender's certificate ends with its request, so senders without any right can't fill the memory.
_LOADED: WeakKeyDictionary[Certificate, crypto.X509] = WeakKeyDictionary()


def _loaded(certificate: Certificate) -> crypto.X509:
    found = _LOADED.get(certificate)
    if found is None:
        found = _LOADED[certificate] = crypto.load_certificate(crypto.FILETYPE_ASN1, certificate.der)
    return found


def _encoded(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
