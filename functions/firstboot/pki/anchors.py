"""Keep the factories' trust anchors apart from our issuing CA. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.pki import certificate, path
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import AnchorConflict


def check_anchors(anchors: Sequence[Certificate], ca: x509.Certificate) -> None:
    """Refuse factory anchors that could vouch for operational certificates.

    Those are our CA itself, a CA that issued it, a CA that it issued, and a CA with its key.
    Raises AnchorConflict.
    """
    own = certificate.parse(ca.public_bytes(Encoding.DER))
    for anchor in anchors:
        same_key = anchor.spki_fingerprint() == own.spki_fingerprint()
        if same_key or path.issued_by(own, anchor) or path.issued_by(anchor, own):
            raise AnchorConflict(log=anchor.subject.text())
