"""Try what a trust anchor admits, by a certificate under its look-alike.

The look-alike has the anchor's subject, dates and extensions, and a new key, so that a certificate can be
signed under it. The very verifier of bootstrap certificates judges that certificate. If it refuses a
certificate with nothing wrong in it, it refuses every certificate of the anchor. The keys are thrown away,
and the result does not depend on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstboot.domain.errors import FirstbootError
from firstboot.pki import bootstrap, certificate, der
from firstboot.pki.certificate import Certificate
from firstboot.pki.der import Element, NotDer

_ECDSA_SHA256 = der.encode(der.SEQUENCE, bytes.fromhex("06082a8648ce3d040302"))
_SUBJECT_KEY, _AUTHORITY_KEY, _NAME_CONSTRAINTS = "2.5.29.14", "2.5.29.35", "2.5.29.30"

_V3 = der.encode(0xA0, der.encode(der.INTEGER, b"\2"))
_COMMON_NAME = der.encode(
    der.SET, der.encode(der.SEQUENCE, bytes.fromhex("0603550403"), der.encode(0x0C, b"trial"))
)
_DIGITAL_SIGNATURE = der.encode(
    der.SEQUENCE, bytes.fromhex("0603551d0f"), der.encode(der.OCTET_STRING, b"\3\2\7\x80")
)
_CLIENT_AUTH = der.encode(
    der.SEQUENCE,
    bytes.fromhex("0603551d25"),
    der.encode(der.OCTET_STRING, der.encode(der.SEQUENCE, bytes.fromhex("06082b06010505070302"))),
)
_PERMITTED, _DIRECTORY_NAME, _KEY_IDENTIFIER = 0xA0, 0xA4, 0x80
_SUBJECT = 5
"""The index of the subject in a TBSCertificate of X.509 v3 (RFC 5280 section 4.1)."""
_HOUR = timedelta(hours=1)


def refusal(anchor: Certificate, at: datetime) -> FirstbootError | None:
    """Return why certificates under `anchor` would be refused at the time `at`; None if one can be accepted.

    `anchor` must have passed bootstrap.unfit_issuer.
    """
    refused: FirstbootError | None = None
    upper = _LookAlike(anchor)
    for subject in _subjects(anchor):
        try:
            bootstrap.verify(upper.issue(subject, at), [upper.certificate], at)
        except FirstbootError as error:
            refused = refused or error
        else:
            return None
    return refused


class _LookAlike:
    """A CA that looks like `anchor` and has a key of its own."""

    def __init__(self, anchor: Certificate) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._spki = _spki(self._key)
        self._identifier = hashlib.sha256(self._spki).digest()[:20]
        fields = [self._field(each, anchor) for each in der.read(anchor.signed).children]
        self.certificate = certificate.parse(_signed(self._key, fields))
        self._name = fields[_SUBJECT]

    def issue(self, subject: bytes, at: datetime) -> Certificate:
        """Return a client's certificate with the subject `subject` (DER), valid at the time `at`."""
        fields = [
            _V3,
            der.encode(der.INTEGER, b"\1"),
            _ECDSA_SHA256,
            self._name,
            der.encode(der.SEQUENCE, _time(at - _HOUR), _time(at + _HOUR)),
            subject,
            _spki(ec.generate_private_key(ec.SECP256R1())),
            der.encode(0xA3, der.encode(der.SEQUENCE, _DIGITAL_SIGNATURE, _CLIENT_AUTH)),
        ]
        return certificate.parse(_signed(self._key, fields))

    def _field(self, element: Element, anchor: Certificate) -> bytes:
        """Return a field of the anchor's TBSCertificate as the look-alike has it."""
        if element.encoded == anchor.spki.encoded:
            return self._spki
        if element.encoded == anchor.algorithm.encoded:
            return _ECDSA_SHA256
        if element.tag == 0xA3:
            (extensions,) = element.children
            return der.encode(0xA3, der.encode(der.SEQUENCE, *map(self._extension, extensions.children)))
        return element.encoded

    def _extension(self, element: Element) -> bytes:
        oid, *critical, _ = element.children
        if oid.oid() == _SUBJECT_KEY:
            value = der.encode(der.OCTET_STRING, self._identifier)
        elif oid.oid() == _AUTHORITY_KEY:
            value = der.encode(der.SEQUENCE, der.encode(_KEY_IDENTIFIER, self._identifier))
        else:
            return element.encoded
        return der.encode(
            der.SEQUENCE,
            oid.encoded,
            *(each.encoded for each in critical),
            der.encode(der.OCTET_STRING, value),
        )


def _subjects(anchor: Certificate) -> Sequence[bytes]:
    """Return the subjects to try: a common name alone, and one below each name that the anchor permits."""
    permitted: list[bytes] = []
    if constraints := anchor.extensions.get(_NAME_CONSTRAINTS):
        with suppress(NotDer):  # The verifier finds that out.
            permitted = list(_permitted_names(constraints.read()))
    return [der.encode(der.SEQUENCE, name, _COMMON_NAME) for name in (b"", *permitted)]


def _permitted_names(constraints: Element) -> Iterator[bytes]:
    """Return the content of each directoryName that name constraints permit (RFC 5280, 4.2.1.10)."""
    for subtrees in constraints.children:
        if subtrees.tag == _PERMITTED:
            for subtree in subtrees.children:
                if subtree.children and subtree.children[0].tag == _DIRECTORY_NAME:
                    yield subtree.children[0].children[0].content


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _signed(key: ec.EllipticCurvePrivateKey, fields: Sequence[bytes]) -> bytes:
    tbs = der.encode(der.SEQUENCE, *fields)
    signature = key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return der.encode(der.SEQUENCE, tbs, _ECDSA_SHA256, der.encode(der.BIT_STRING, b"\0", signature))


def _time(at: datetime) -> bytes:
    return der.encode(der.GENERALIZED_TIME, f"{at:%Y%m%d%H%M%SZ}".encode())
