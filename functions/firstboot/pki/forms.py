"""The forms of one certificate: equal in what is signed, and different in their bytes. Pure.

An ECDSA signature (r, s) also holds as (r, n - s), where n is the order of the issuer's curve. So a sender
without any key can turn a certificate into its twin, which has another fingerprint. An RSA signature has one
form.
"""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec, utils

from firstboot.pki import der, signature
from firstboot.pki.certificate import Certificate
from firstboot.pki.der import NotDer
from firstboot.pki.signature import AlgorithmRefused

_ORDERS = (ec.SECP256R1().group_order, ec.SECP384R1().group_order)


def ids(of: Certificate) -> frozenset[str]:
    """Return the fingerprints (SHA-256 of the DER, hex) of the certificate's forms: AWS IoT's ids of them."""
    # The twin is hashed and not parsed, because that would take as long as parsing the certificate did.
    other = twin(of)
    return frozenset({of.fingerprint, hashlib.sha256(other).hexdigest()} if other else {of.fingerprint})


def twin(of: Certificate) -> bytes | None:
    """Return the DER of the certificate with its signature's other form, or None if there is one form."""
    try:
        if not signature.algorithm(of.algorithm).is_ecdsa:
            return None
        r, s = utils.decode_dss_signature(of.signature)
        # The issuer's certificate may be unknown here. The size of r and s tells the curve: on P-384 both are
        # below the order of P-256 once in 2^256 signatures.
        order = next(order for order in _ORDERS if 0 < r < order and 0 < s < order)
    except (AlgorithmRefused, NotDer, ValueError, StopIteration):
        return None
    changed = der.encode(der.BIT_STRING, b"\0", utils.encode_dss_signature(r, order - s))
    return der.encode(der.SEQUENCE, of.signed, of.algorithm.encoded, changed)
