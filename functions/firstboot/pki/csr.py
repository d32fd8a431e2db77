"""Certificate signing requests: a public key and the proof that its owner sent it. Pure.

Subject, attributes and extensions of a CSR are the sender's wishes; none is ever used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstboot.pki.chain import key_is_strong
from firstboot.pki.errors import CsrKeyRefused, CsrSignatureInvalid, MalformedCsr

DevicePublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

MAX_LENGTH = 8_192
"""Characters. A CSR for RSA-4096 has about 2,300."""


@dataclass(frozen=True)
class UnverifiedCsr:
    """A CSR that parses. Nothing in it has been checked."""

    request: x509.CertificateSigningRequest


@dataclass(frozen=True)
class VerifiedCsr:
    """A key of a kind we certify, whose owner made the CSR. `spki` is the SHA-256 of the
    SubjectPublicKeyInfo's DER, lower-case hex.
    """

    public_key: DevicePublicKey
    spki: str


def parse(text: str) -> UnverifiedCsr:
    """The CSR in `text`, PEM (RFC 7468) or base64 of the DER (RFC 2986).

    Raises MalformedCsr.
    """
    if len(text) > MAX_LENGTH:
        raise MalformedCsr(f"A CSR has at most {MAX_LENGTH} characters")
    try:
        if text.lstrip().startswith("-----BEGIN"):
            return UnverifiedCsr(x509.load_pem_x509_csr(text.encode()))
        der = base64.b64decode("".join(text.split()), validate=True)
        return UnverifiedCsr(x509.load_der_x509_csr(der))
    except (ValueError, binascii.Error, x509.InvalidVersion) as error:
        raise MalformedCsr(log=repr(error)) from error


def verify(unverified: UnverifiedCsr) -> VerifiedCsr:
    """Check the CSR's key and its signature, the proof of possession.

    Raises CsrKeyRefused, CsrSignatureInvalid, MalformedCsr.
    """
    try:
        key = unverified.request.public_key()
    except UnsupportedAlgorithm as error:
        raise CsrKeyRefused(log=repr(error)) from error
    except ValueError as error:
        raise MalformedCsr(log=repr(error)) from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) or not key_is_strong(key):
        raise CsrKeyRefused(log=repr(key))
    if not _signature_is_valid(unverified.request):
        raise CsrSignatureInvalid
    return VerifiedCsr(key, spki_fingerprint(key))


def spki_fingerprint(key: DevicePublicKey) -> str:
    """SHA-256 (hex) of the key's SubjectPublicKeyInfo, encoded anew: a compressed point gives
    the same as an uncompressed one.
    """
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def certificate_spki(certificate: x509.Certificate) -> str:
    """`spki_fingerprint` of a certificate's key, which must be of a kind that `chain.key_is_strong` takes."""
    return spki_fingerprint(cast("DevicePublicKey", certificate.public_key()))


def _signature_is_valid(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except (UnsupportedAlgorithm, ValueError, TypeError):
        return False
