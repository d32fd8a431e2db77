"""Certificate signing requests: a public key and the proof that its owner sent it. Pure.

The key, the signed bytes, the algorithm and the signature count. Version, subject and attributes are the
sender's wishes. They are not read, so no form of them makes a CSR malformed, and no certificate has them. A
protocol without another place for a device's id may ask for the common name in the subject.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from firstboot.domain.errors import Reason
from firstboot.pki import certificate, der, signature
from firstboot.pki.der import Element, NotDer
from firstboot.pki.errors import CsrKeyRefused, CsrSignatureInvalid, MalformedCsr
from firstboot.pki.signature import AlgorithmRefused, DevicePublicKey, KeyRefused, spki_fingerprint

MAX_LENGTH = 8_192
"""Characters. A CSR for RSA-4096 has about 2,300."""

_PEM = re.compile(r"-----BEGIN (?P<label>(?:NEW )?CERTIFICATE REQUEST)-----\s([^-]*)-----END (?P=label)-----")


@dataclass(frozen=True)
class UnverifiedCsr:
    """A CSR whose parts are found. Nothing in it has been checked.

    `signed` are the bytes that the signature covers, `spki` the SubjectPublicKeyInfo, `subject` the name that
    the sender wishes. Only protocols that have no other place for a device's id read the subject.
    """

    signed: bytes
    spki: bytes
    algorithm: bytes
    signature: bytes
    subject: bytes = b""


@dataclass(frozen=True)
class VerifiedCsr:
    """A key of a kind we certify, whose owner made the CSR. `spki` is the SHA-256 of the
    SubjectPublicKeyInfo's DER, lower-case hex.
    """

    public_key: DevicePublicKey
    spki: str


def parse(text: str) -> UnverifiedCsr:
    """Return the CSR in `text`: PEM (RFC 7468) or base64 of the DER (RFC 2986).

    Text around the PEM block is ignored, as RFC 7468 section 2 allows it. Raises MalformedCsr.
    """
    if len(text) > MAX_LENGTH:
        raise MalformedCsr(f"A CSR has at most {MAX_LENGTH} characters")
    if found := _PEM.search(text):
        text = found[2]
    elif "-----BEGIN" in text:
        raise MalformedCsr("The PEM text has no whole CERTIFICATE REQUEST block")
    try:
        encoded = base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise MalformedCsr("The CSR is not valid base64", log=repr(error)) from error
    return parse_der(encoded)


def parse_der(encoded: bytes) -> UnverifiedCsr:
    """Return the CSR in `encoded`.

    Raises MalformedCsr.
    """
    if len(encoded) > MAX_LENGTH:
        raise MalformedCsr(f"A CSR has at most {MAX_LENGTH} bytes")
    try:
        # Two levels down are version, subject, key and attributes. What is in them is read only if it counts.
        return _parts(der.read_top(encoded, levels=2))
    except NotDer as error:
        raise MalformedCsr(f"The CSR is not in DER: {error}") from error


def _parts(whole: Element) -> UnverifiedCsr:
    match whole.expect(der.SEQUENCE).children:
        case [info, algorithm, signed_by]:
            pass
        case _:
            raise NotDer("a CSR has three parts")
    match info.expect(der.SEQUENCE).children:
        # The attributes [0] are not optional (RFC 2986 section 4.1), but many encoders think so.
        case [version, subject, spki] | [version, subject, spki, Element(tag=0xA0)]:
            version.expect(der.INTEGER)
            subject.expect(der.SEQUENCE)
        case _:
            raise NotDer("a CSR has a version, a subject, a key and attributes")
    return UnverifiedCsr(
        info.encoded, spki.encoded, algorithm.encoded, der.read(signed_by.encoded).bits(), subject.encoded
    )


def verify(unverified: UnverifiedCsr) -> VerifiedCsr:
    """Check the CSR's key and its signature, the proof of possession.

    Raises CsrKeyRefused, CsrSignatureInvalid, MalformedCsr.
    """
    try:
        key = signature.public_key(der.read(unverified.spki))
        algorithm = signature.algorithm(der.read(unverified.algorithm))
    except KeyRefused as error:
        raise CsrKeyRefused(f"The CSR has {error}") from error
    except AlgorithmRefused as error:
        detail = f"The CSR must be signed with SHA-2, and is with {error}"
        raise CsrSignatureInvalid(detail, reason=Reason.CSR_ALGORITHM) from error
    except NotDer as error:
        raise MalformedCsr(f"The CSR is not in DER: {error}") from error
    if not signature.is_valid(key, unverified.signed, unverified.signature, algorithm):
        raise CsrSignatureInvalid
    return VerifiedCsr(key, spki_fingerprint(key))


def common_name(unverified: UnverifiedCsr) -> str | None:
    """Return the common name that the sender wishes; None if the subject has none or several."""
    try:
        found = certificate.distinguished_name(der.read(unverified.subject)).values(certificate.COMMON_NAME)
    except (NotDer, UnicodeError):
        return None
    return found[0] if len(found) == 1 else None
