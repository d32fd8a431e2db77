"""Keys and signatures of certificates and CSRs: which are taken, and whether one holds. Pure.

The algorithm is read from its own bytes, so that a form which makers' encoders write and cryptography's
parser refuses is taken: NULL parameters beside ECDSA (Mbed TLS up to 2.28.7, tpm2-openssl 1.1) or none
beside RSA.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from firstboot.pki import der
from firstboot.pki.der import Element, NotDer

DevicePublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

RSA_BITS = range(2048, 4097)

_EC_KEY, _RSA_KEY = "1.2.840.10045.2.1", "1.2.840.113549.1.1.1"
_RSASSA_PSS, _MGF1 = "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.8"

# RFC 5758 section 3.2; RFC 4055 section 5. SHA-1 and MD5 are left out: collisions can be made.
_ECDSA: dict[str, hashes.HashAlgorithm] = {
    "1.2.840.10045.4.3.2": hashes.SHA256(),
    "1.2.840.10045.4.3.3": hashes.SHA384(),
    "1.2.840.10045.4.3.4": hashes.SHA512(),
}
_RSA: dict[str, hashes.HashAlgorithm] = {
    "1.2.840.113549.1.1.11": hashes.SHA256(),
    "1.2.840.113549.1.1.12": hashes.SHA384(),
    "1.2.840.113549.1.1.13": hashes.SHA512(),
}
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}


class KeyRefused(ValueError):
    """A key of a kind or strength that is not taken; the message says which."""


class AlgorithmRefused(ValueError):
    """A signature algorithm that is not taken; the message says which."""


@dataclass(frozen=True)
class Algorithm:
    """A signature algorithm. `salt_bytes` is the length of the salt of RSASSA-PSS, None for others."""

    is_ecdsa: bool
    hash: hashes.HashAlgorithm
    salt_bytes: int | None = None


def public_key(spki: Element) -> DevicePublicKey:
    """Return the key in a SubjectPublicKeyInfo: P-256, P-384, or RSA of 2,048 to 4,096 bits.

    Raises KeyRefused, NotDer.
    """
    algorithm, _ = _pair(spki)
    oid, parameters = _algorithm_parts(algorithm)
    # Parameters that spell out a curve may give it another generator, under which the sender can sign for
    # a key that is not its own (CVE-2020-0601). Only a curve's name is read (RFC 5480 section 2.1.1).
    if oid == _EC_KEY and (parameters is None or parameters.tag != der.OID):
        raise KeyRefused("an elliptic-curve key without the name of its curve")
    if oid not in (_EC_KEY, _RSA_KEY):
        raise KeyRefused(f"a key of the kind {oid}, not RSA or an elliptic curve's")
    try:
        key = load_der_public_key(spki.encoded)
    except UnsupportedAlgorithm as error:
        raise KeyRefused(str(error)) from error
    except (ValueError, TypeError) as error:
        raise KeyRefused(f"a key that can't be read: {error}") from error
    return _strong(key)


def spki_fingerprint(key: DevicePublicKey) -> str:
    """Return the SHA-256 (hex) of the key's SubjectPublicKeyInfo, encoded anew.

    A compressed point gives the same as an uncompressed one.
    """
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def is_strong(key: object) -> bool:
    """Return whether a key is P-256, P-384, or RSA of 2,048 to 4,096 bits without a known flaw."""
    try:
        _strong(key)
    except KeyRefused:
        return False
    return True


def _strong(key: object) -> DevicePublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
        raise KeyRefused(f"a key on the curve {key.curve.name}, not on P-256 or P-384")
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in RSA_BITS:
            raise KeyRefused(f"an RSA key of {key.key_size} bits, not one of 2048 to 4096")
        if flaw := _flaw(key):
            raise KeyRefused(f"an RSA key whose private key is easy to find ({flaw})")
        return key
    raise KeyRefused(f"a key of the kind {type(key).__name__}")


def _flaw(key: rsa.RSAPublicKey) -> str | None:
    """Return the name of a known flaw of the modulus, such as ROCA (CVE-2017-15361), or None."""
    # Imported here because only RSA keys need it, and it is half of the import time of this package.
    from badkeys.checks import checkrsa  # noqa: PLC0415

    numbers = key.public_numbers()
    found = checkrsa(numbers.n, numbers.e, checks=["roca", "fermat", "smallfactors", "rsapoly", "rsainvalid"])
    return next(iter(found), None)


def algorithm(identifier: Element) -> Algorithm:
    """Return the signature algorithm of an AlgorithmIdentifier.

    Raises AlgorithmRefused, NotDer.
    """
    oid, parameters = _algorithm_parts(identifier)
    if oid == _RSASSA_PSS:
        return _pss(parameters)
    # RFC 5758 wants no parameters beside ECDSA and RFC 4055 NULL beside RSA. Encoders mix them up.
    if parameters is not None and parameters.tag != der.NULL:
        raise AlgorithmRefused(f"{oid} with parameters")
    if oid in _ECDSA:
        return Algorithm(is_ecdsa=True, hash=_ECDSA[oid])
    if oid in _RSA:
        return Algorithm(is_ecdsa=False, hash=_RSA[oid])
    raise AlgorithmRefused(_NAMES.get(oid, oid))


_NAMES = {
    "1.2.840.10045.4.1": "ECDSA with SHA-1",
    "1.2.840.113549.1.1.4": "RSA with MD5",
    "1.2.840.113549.1.1.5": "RSA with SHA-1",
    "1.3.101.112": "Ed25519",
}


def _pss(parameters: Element | None) -> Algorithm:
    """RFC 4055 section 3.1. Every default is SHA-1's, so hash and mask function must be there."""
    fields = {each.tag: each.children for each in (parameters.children if parameters else ())}
    try:
        (hash_identifier,), (mask,) = fields[0xA0], fields[0xA1]
        hash_oid, _ = _algorithm_parts(hash_identifier)
        mask_oid, mask_hash = _algorithm_parts(mask)
        (salt,) = fields.get(0xA2, (None,))
        mask_hash_oid = _algorithm_parts(mask_hash)[0] if mask_hash else None
        chosen = _HASHES[hash_oid]
    except (KeyError, ValueError) as error:
        raise AlgorithmRefused("RSASSA-PSS without a SHA-2 hash and mask") from error
    if mask_oid != _MGF1 or mask_hash_oid != hash_oid or 0xA3 in fields:
        raise AlgorithmRefused("RSASSA-PSS with two hashes, or another mask than MGF1")
    length = salt.integer() if salt else 20
    if not 0 <= length <= 64:
        raise AlgorithmRefused(f"RSASSA-PSS with a salt of {length} bytes")
    return Algorithm(is_ecdsa=False, hash=chosen, salt_bytes=length)


def is_valid(key: DevicePublicKey, signed: bytes, signature: bytes, by: Algorithm) -> bool:
    """Return whether `key` made `signature` over the bytes `signed`."""
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            if not by.is_ecdsa:
                return False
            key.verify(signature, signed, ec.ECDSA(by.hash))
        else:
            if by.is_ecdsa:
                return False
            key.verify(signature, signed, _padding(by), by.hash)
    except (InvalidSignature, ValueError):
        return False
    return True


def _padding(by: Algorithm) -> padding.AsymmetricPadding:
    if by.salt_bytes is None:
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(by.hash), by.salt_bytes)


def _algorithm_parts(identifier: Element) -> tuple[str, Element | None]:
    match identifier.expect(der.SEQUENCE).children:
        case [oid]:
            return oid.oid(), None
        case [oid, parameters]:
            return oid.oid(), parameters
        case _:
            raise NotDer("an AlgorithmIdentifier has an OID and at most one more value")


def _pair(element: Element) -> tuple[Element, Element]:
    match element.expect(der.SEQUENCE).children:
        case [one, other]:
            return one, other
        case _:
            raise NotDer("a SubjectPublicKeyInfo has two values")
