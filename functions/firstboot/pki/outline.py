"""The outline of a certificate: the parts that show who signed it. Pure.

Reading a whole certificate strictly takes several times as long. In a storm most requests are refused by the
outline.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from firstboot.pki import der, pem
from firstboot.pki.der import Element, NotDer
from firstboot.pki.errors import CertificateMalformed


@dataclass(frozen=True, eq=False, kw_only=True)
class Outline:
    """The outline of an unverified certificate, of which the rest may be malformed.

    `signed` are the bytes that the signature covers, and `issuer_der` the issuer's name among them, in DER.
    """

    signed: bytes = field(compare=False, repr=False)
    issuer_der: bytes = field(compare=False, repr=False)
    algorithm: Element = field(compare=False, repr=False)
    signature: bytes = field(compare=False, repr=False)

    @cached_property
    def identifier(self) -> str:
        """SHA-256 (lower-case hex) of what is signed.

        An ECDSA signature can be changed into another that holds, by a sender without the key. So the
        fingerprint can be chosen by the sender, and this identifier cannot.
        """
        return hashlib.sha256(self.signed).hexdigest()


def outline(text: str) -> Outline | None:
    """Return the outline of the certificate in `text`, PEM or base64 of the DER; None if it has none."""
    try:
        # Two levels down are the fields of what is signed. What is in them is not read.
        return _outline(der.read_top(pem.decoded(text), levels=2))
    except (CertificateMalformed, NotDer):
        return None


def _outline(whole: Element) -> Outline | None:
    match whole.children:
        case [Element(children=fields) as signed, algorithm, signed_by]:
            pass
        case _:
            return None
    # A version 1 has no number in front (RFC 5280 section 4.1).
    match fields:
        case [Element(tag=0xA0), Element(tag=der.INTEGER), _, issuer, *_] | [
            Element(tag=der.INTEGER),
            _,
            issuer,
            *_,
        ]:
            return Outline(
                signed=signed.encoded,
                issuer_der=issuer.encoded,
                algorithm=der.read(algorithm.encoded),
                signature=signed_by.bits(),
            )
        case _:
            return None
