"""Parse and verify certificate signing requests (RFC 2986).

Only the public key of a CSR is used. Its subject, attributes and extensions are the device's own choice, so
none of them may reach a certificate.
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
"""Characters of a CSR as text. One for an RSA key of 4,096 bits has about 2,300."""


@dataclass(frozen=True)
class UnverifiedCsr:
    """A parsed CSR. Neither its key nor its signature has been checked."""

    request: x509.CertificateSigningRequest


@dataclass(frozen=True)
class VerifiedCsr:
    """A public key of a supported kind, whose private key signed the CSR.

    `spki` is the SHA-256 of the SubjectPublicKeyInfo's DER in lower-case hex.
    """

    public_key: DevicePublicKey
    spki: str


def parse(text: str) -> UnverifiedCsr:
    """Return the CSR in `text`: PEM (RFC 7468) or base64 of the DER (RFC 2986).

    Raises MalformedCsr.
    """
    if len(text) > MAX_LENGTH:
        raise MalformedCsr(f"A CSR must have at most {MAX_LENGTH} characters")
    try:
        if text.lstrip().startswith("-----BEGIN"):
            return UnverifiedCsr(x509.load_pem_x509_csr(text.encode()))
        der = base64.b64decode("".join(text.split()), validate=True)
        return UnverifiedCsr(x509.load_der_x509_csr(der))
    except (ValueError, binascii.Error, x509.InvalidVersion) as error:
        raise MalformedCsr(log=repr(error)) from error


def verify(unverified: UnverifiedCsr) -> VerifiedCsr:
    """Check the CSR's key, and its signature, which proves possession of the private key.

    Raises CsrKeyRefused, CsrSignatureInvalid, MalformedCsr.
    """
    # The key is checked before the signature: checking a signature with a very large RSA key takes long.
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
    """Return the SHA-256 (hex) of the key's SubjectPublicKeyInfo."""
    # The key is encoded anew, so that a compressed and an uncompressed point of the same key have one hash.
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def certificate_spki(certificate: x509.Certificate) -> str:
    """Return `spki_fingerprint` of a certificate's key, which `chain.key_is_strong` must have accepted."""
    return spki_fingerprint(cast("DevicePublicKey", certificate.public_key()))


def _signature_is_valid(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except (UnsupportedAlgorithm, ValueError, TypeError):
        return False
