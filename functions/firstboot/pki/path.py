"""Path validation by OpenSSL (RFC 5280 section 6), behind one function.

pyOpenSSL's maintainers advise to use cryptography's verifier where it serves. It does not serve here: of 31
good certificates from the field it takes 12, because it cannot read the rest. docs/decisions has the
measurements. Everything that OpenSSL gets to see has been read by `certificate` first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache

from OpenSSL import crypto

from firstboot.pki import signature
from firstboot.pki.certificate import Certificate
from firstboot.pki.der import NotDer

MAX_TRIES = 8
"""Searches for one path. Each but the first leaves out issuers whose key did not sign."""

_SIGNATURE_FAILURE = 7
"""X509_V_ERR_CERT_SIGNATURE_FAILURE of OpenSSL's x509_vfy.h."""


class NoPath(Exception):
    """No path leads to a trust anchor. The message has OpenSSL's reason and the certificate concerned."""


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
                reason = "the key of no issuer of that name signed it" if left_out else error.errors[2]
                raise NoPath(f"{failed.subject.text()}: {reason}") from error
            left_out |= strangers
    raise NoPath(f"no path within {MAX_TRIES} searches")


def _verified(
    leaf: Certificate, anchors: Sequence[Certificate], intermediates: Sequence[Certificate], at: datetime
) -> list[bytes]:
    """Return the path that OpenSSL finds. Raises X509StoreContextError."""
    store = crypto.X509Store()
    # Any CA may be the anchor, also one that another CA has issued (RFC 5280 section 6.1.1).
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(at)
    for each in anchors:
        store.add_cert(_loaded(each.der))
    context = crypto.X509StoreContext(store, _loaded(leaf.der), [_loaded(each.der) for each in intermediates])
    return [_encoded(each) for each in context.get_verified_chain()]


def is_readable(certificate: Certificate) -> bool:
    """Return whether OpenSSL can read the certificate too. It reads more of it than `certificate` does."""
    try:
        _loaded(certificate.der)
    except crypto.Error:
        return False
    return True


def issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Return whether `issuer`'s key signed `certificate` and the names agree."""
    return certificate.issuer.canonical() == issuer.subject.canonical() and signed_by(certificate, issuer)


def signed_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Return whether `issuer`'s key signed `certificate`."""
    try:
        key = signature.public_key(issuer.spki)
        algorithm = signature.algorithm(certificate.algorithm)
    except (signature.KeyRefused, signature.AlgorithmRefused, NotDer):
        return False
    return signature.is_valid(key, certificate.signed, certificate.signature, algorithm)


def _strangers(certificate: Certificate, candidates: Iterable[Certificate]) -> set[bytes]:
    """Return those that have the name of `certificate`'s issuer and did not sign it."""
    name = certificate.issuer.canonical()
    namesakes = [each for each in candidates if each.subject.canonical() == name]
    return {each.der for each in namesakes if not signed_by(certificate, each)}


@lru_cache(maxsize=1024)
def _loaded(encoded: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, encoded)


def _encoded(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
