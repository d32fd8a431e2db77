"""Keys, CSRs, and the checks on a certificate before the device stores it."""

from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from . import form, hardware
from .refusal import Action, Refused

_WITH_ITS_CA = timedelta(minutes=1)
"""How long before its CA a certificate ends that the CA's end has shortened, at most."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key() -> bytes:
    """Return a new P-256 private key as PKCS#8 PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def csr(key: bytes) -> str:
    """Return a CSR (PEM) signed by `key`. Its subject is empty because the service names the device."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(_private_key(key), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def usable(key: bytes) -> bool:
    """Return whether `key` is a complete EC private key (PEM), or a complete reference to one."""
    try:
        _private_key(key)
    except ValueError:
        return False
    return True


def belong_together(key: bytes, chain: bytes) -> bool:
    """Return whether the first certificate of `chain` (PEM) is for `key`; false if either can't be read."""
    try:
        return _is_for(form.chain(chain)[0], _private_key(key))
    except ValueError:
        return False


def common_name(chain: bytes) -> str:
    """Return the common name in the first certificate of `chain` (PEM), which is the device's id."""
    return form.chain(chain)[0].common_name()


def key_fingerprint(chain: bytes) -> str:
    """Return the SHA-256 (hex) of the SubjectPublicKeyInfo in the first certificate of `chain` (PEM).

    Two encodings of one key have one fingerprint if cryptography can read the key. Raises ValueError.
    """
    spki = form.chain(chain)[0].spki
    with suppress(UnsupportedAlgorithm):
        spki = _spki(load_der_public_key(spki))
    return hashlib.sha256(spki).hexdigest()


def signer(key: bytes, chain: bytes) -> tuple[PrivateKey, list[bytes]]:
    """Return the private key of `key` (PEM or a reference), and the certificates to show with its signatures:
    those of PEM `chain` as DER, leaf first.

    Roots are left out, because a verifier must have them already. So an operational chain is its leaf alone,
    since Firstboot's own CA is a root.

    Raises Refused (stop) if key and chain can't be read or don't belong together.
    """
    try:
        leaf, *issuers = form.chain(chain)
        reference = hardware.parse(key)
        private = (
            hardware.private_key(reference, leaf.spki)
            if reference
            else load_pem_private_key(key, password=None)
        )
    except (ValueError, TypeError) as error:  # TypeError: the key is encrypted
        raise Refused(Action.STOP, "The certificate and its key can't be loaded") from error
    if not isinstance(private, PrivateKey):
        raise Refused(Action.STOP, "The key is neither EC nor RSA")
    if not _is_for(leaf, private):
        raise Refused(Action.STOP, "The certificate is for another key")
    shown = [leaf, *(issuer for issuer in issuers if issuer.issuer != issuer.subject)]
    return private, [certificate.der for certificate in shown]


def leaf(chain: bytes) -> str:
    """Return the first certificate of `chain` (PEM)."""
    return ssl.DER_cert_to_PEM_cert(form.chain(chain)[0].der)


def due(chain: bytes, moment: datetime) -> bool:
    """Return whether two thirds of the lifetime of `chain`'s first certificate (PEM) are over at `moment`.

    A certificate that ends with its CA, the second in `chain`, is not due, because the next one would not end
    later.
    """
    certificate, *above = x509.load_pem_x509_certificates(chain)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if above and above[0].not_valid_after_utc - end <= _WITH_ITS_CA:
        return False
    return moment >= start + (end - start) * 2 / 3


def expired(chain: bytes, moment: datetime) -> bool:
    """Return whether the first certificate of `chain` (PEM) has expired at `moment`."""
    return form.chain(chain)[0].not_after < moment


def check(chain: bytes, key: bytes, *, device_id: str, certificate_id: str, moment: datetime) -> None:
    """Check that `chain` (PEM, leaf then issuing CA) is the certificate that the service announced for `key`.

    `moment` is the service's time, because the device may have no clock. `certificate_id` is the hex SHA-256
    of the leaf's DER. Raises Refused (stop) if a check fails: such a certificate must never be stored.
    """
    try:
        leaf, issuer = x509.load_pem_x509_certificates(chain)
        # cryptography reads a field when it is asked for, and raises then if it refuses the field.
        names = [name.value for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        start, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    except (ValueError, TypeError, x509.InvalidVersion) as error:  # TypeError: a subject of bits
        raise Refused(Action.STOP, "The chain is not two certificates") from error
    if not belong_together(key, chain):
        raise Refused(Action.STOP, "The certificate is for another key")
    if names != [device_id]:
        raise Refused(Action.STOP, "The certificate names another device")
    if leaf.fingerprint(hashes.SHA256()).hex() != certificate_id:
        raise Refused(Action.STOP, "The certificate is not the one announced")
    if not start <= moment <= end:
        raise Refused(Action.STOP, "The certificate is not valid now")
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise Refused(Action.STOP, "The certificate is not issued by the CA beside it") from error


def pem(ders: list[bytes]) -> bytes:
    """Return DER certificates as PEM. Raises ValueError if one can't be parsed."""
    try:
        return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in ders)
    except x509.InvalidVersion as error:
        raise ValueError("a certificate of an unknown version") from error


def _private_key(key: bytes) -> ec.EllipticCurvePrivateKey:
    if reference := hardware.parse(key):
        return hardware.private_key(reference)
    loaded = load_pem_private_key(key, password=None)
    if isinstance(loaded, ec.EllipticCurvePrivateKey):
        return loaded
    raise ValueError("not an EC key")


def _is_for(certificate: form.Fields, key: PrivateKey) -> bool:
    """Return whether the certificate is for the key. Raises ValueError if its key can't be read."""
    try:
        return _spki(load_der_public_key(certificate.spki)) == _spki(key.public_key())
    except UnsupportedAlgorithm as error:
        raise ValueError("the certificate's key is of an unknown kind") from error


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
