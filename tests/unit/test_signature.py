"""Keys and signature algorithms: which are taken, and whether a signature holds."""

from __future__ import annotations

import gmpy2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstboot.pki import der, signature
from firstboot.pki.der import encode
from firstboot.pki.signature import AlgorithmRefused, KeyRefused
from tests import factories
from tests.field.encode import oid

DATA = b"signed"
NULL = encode(der.NULL)
SHA256, SHA384, SHA1 = "2.16.840.1.101.3.4.2.1", "2.16.840.1.101.3.4.2.2", "1.3.14.3.2.26"
PSS, MGF1 = "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.8"


def identifier(dotted: str, *parameters: bytes) -> der.Element:
    """Return an AlgorithmIdentifier."""
    return der.read(encode(der.SEQUENCE, oid(dotted), *parameters))


def spki(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> der.Element:
    """Return a SubjectPublicKeyInfo."""
    return der.read(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def pss(hash_oid: str = SHA256, mask_oid: str = SHA256, salt: int = 32, *rest: bytes) -> der.Element:
    """Return an AlgorithmIdentifier of RSASSA-PSS (RFC 4055 section 3.1)."""
    digest, mask = (encode(der.SEQUENCE, oid(each), NULL) for each in (hash_oid, mask_oid))
    return identifier(
        PSS,
        encode(
            der.SEQUENCE,
            encode(0xA0, digest),
            encode(0xA1, encode(der.SEQUENCE, oid(MGF1), mask)),
            encode(0xA2, encode(der.INTEGER, bytes([salt]))),
            *rest,
        ),
    )


@pytest.mark.parametrize("parameters", [(), (NULL,)])
@pytest.mark.parametrize(
    ("dotted", "digest"),
    [("1.2.840.10045.4.3.2", hashes.SHA256()), ("1.2.840.10045.4.3.4", hashes.SHA512())],
)
def test_ecdsa_with_and_without_null(
    dotted: str, digest: hashes.HashAlgorithm, parameters: tuple[bytes, ...]
) -> None:
    """NULL parameters beside ECDSA change nothing."""
    key = factories.ec_key()
    by = signature.algorithm(identifier(dotted, *parameters))
    made = key.sign(DATA, ec.ECDSA(digest))
    assert signature.is_valid(key.public_key(), DATA, made, by)
    assert not signature.is_valid(key.public_key(), b"other", made, by)
    assert not signature.is_valid(factories.ec_key().public_key(), DATA, made, by)


@pytest.mark.parametrize("parameters", [(), (NULL,)])
def test_rsa_with_and_without_null(parameters: tuple[bytes, ...]) -> None:
    """Absent parameters beside RSA change nothing."""
    key = factories.rsa_key()
    by = signature.algorithm(identifier("1.2.840.113549.1.1.11", *parameters))
    made = key.sign(DATA, padding.PKCS1v15(), hashes.SHA256())
    assert signature.is_valid(key.public_key(), DATA, made, by)
    assert not signature.is_valid(key.public_key(), DATA, made[:-1] + bytes([made[-1] ^ 1]), by)


def test_rsassa_pss() -> None:
    """RSASSA-PSS is verified with the hash and the salt length that it names."""
    key = factories.rsa_key()
    made = key.sign(DATA, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    assert signature.is_valid(key.public_key(), DATA, made, signature.algorithm(pss()))
    assert not signature.is_valid(key.public_key(), DATA, made, signature.algorithm(pss(salt=20)))


REFUSED = {
    "SHA-1": identifier("1.2.840.10045.4.1"),
    "MD5": identifier("1.2.840.113549.1.1.4", NULL),
    "Ed25519": identifier("1.3.101.112"),
    "an unknown one": identifier("1.2.3"),
    "ECDSA with a curve": identifier("1.2.840.10045.4.3.2", oid("1.2.840.10045.3.1.7")),
    "RSASSA-PSS with defaults": identifier(PSS, encode(der.SEQUENCE)),
    "RSASSA-PSS without parameters": identifier(PSS),
    "RSASSA-PSS with SHA-1": pss(SHA1, SHA1),
    "RSASSA-PSS with two hashes": pss(SHA256, SHA384),
    "RSASSA-PSS with a trailer": pss(SHA256, SHA256, 32, encode(0xA3, encode(der.INTEGER, b"\x01"))),
    "RSASSA-PSS with a long salt": pss(salt=65),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_algorithm_is_refused(kind: str) -> None:
    """An algorithm with a weak hash or with parameters of another kind is refused."""
    with pytest.raises(AlgorithmRefused):
        signature.algorithm(REFUSED[kind])


def test_an_algorithm_of_another_kind_of_key_verifies_nothing() -> None:
    """An RSA algorithm says nothing about an elliptic-curve key, nor the other way round."""
    one, other = factories.ec_key(), factories.rsa_key()
    by_ecdsa = signature.algorithm(identifier("1.2.840.10045.4.3.2"))
    by_rsa = signature.algorithm(identifier("1.2.840.113549.1.1.11"))
    assert not signature.is_valid(one.public_key(), DATA, one.sign(DATA, ec.ECDSA(hashes.SHA256())), by_rsa)
    made = other.sign(DATA, padding.PKCS1v15(), hashes.SHA256())
    assert not signature.is_valid(other.public_key(), DATA, made, by_ecdsa)


@pytest.mark.parametrize(
    "key",
    [factories.ec_key(), factories.ec_key(ec.SECP384R1()), factories.rsa_key(), factories.rsa_key(4096)],
)
def test_a_strong_key_is_taken(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """P-256, P-384 and RSA of 2,048 to 4,096 bits are taken."""
    assert signature.public_key(spki(key.public_key())) == key.public_key()
    assert signature.is_strong(key.public_key())


def _close_primes() -> rsa.RSAPublicKey:
    first = int(gmpy2.next_prime(3 << 1022))
    return rsa.RSAPublicNumbers(65537, first * int(gmpy2.next_prime(first))).public_key()


def _small_factor() -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(65537, 65_521 * int(gmpy2.next_prime(3 << 2030))).public_key()


def _roca() -> rsa.RSAPublicKey:
    """Return a modulus like those of Infineon's library: a power of 65537 modulo many small primes."""
    primorial = int(gmpy2.primorial(701))
    return rsa.RSAPublicNumbers(65537, pow(65537, 4711, primorial) + primorial * (1 << 1077) | 1).public_key()


WEAK = {
    "RSA-1024": factories.rsa_key(1024).public_key(),
    "P-521": factories.ec_key(ec.SECP521R1()).public_key(),
    "secp256k1": factories.ec_key(ec.SECP256K1()).public_key(),
    "Ed25519": ed25519.Ed25519PrivateKey.generate().public_key(),
    "ROCA": _roca(),
    "primes that are close": _close_primes(),
    "a small factor": _small_factor(),
}


@pytest.mark.parametrize("kind", WEAK)
def test_a_weak_key_is_refused(kind: str) -> None:
    """A key that is short, of another kind, or easy to factor is refused."""
    with pytest.raises(KeyRefused):
        signature.public_key(spki(WEAK[kind]))  # type: ignore[arg-type]
    assert not signature.is_strong(WEAK[kind])


TEXTS = {
    "SHA-1": "ECDSA with SHA-1",
    "MD5": "RSA with MD5",
    "Ed25519": "Ed25519",
    "an unknown one": "1.2.3",
    "ECDSA with a curve": "1.2.840.10045.4.3.2 with parameters",
    "RSASSA-PSS with defaults": "RSASSA-PSS without a SHA-2 hash and mask",
    "RSASSA-PSS without parameters": "RSASSA-PSS without a SHA-2 hash and mask",
    "RSASSA-PSS with SHA-1": "RSASSA-PSS without a SHA-2 hash and mask",
    "RSASSA-PSS with two hashes": "RSASSA-PSS with two hashes, or another mask than MGF1",
    "RSASSA-PSS with a trailer": "RSASSA-PSS with two hashes, or another mask than MGF1",
    "RSASSA-PSS with a long salt": "RSASSA-PSS with a salt of 65 bytes",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_algorithm_is_named(kind: str) -> None:
    """The refusal of an algorithm says which it is."""
    with pytest.raises(AlgorithmRefused) as caught:
        signature.algorithm(REFUSED[kind])
    assert str(caught.value) == TEXTS[kind]


@pytest.mark.parametrize("salt", [0, 20, 64])
def test_a_salt_has_up_to_64_bytes(salt: int) -> None:
    """RSASSA-PSS may have a salt of 0 to 64 bytes."""
    by = signature.algorithm(pss(salt=salt))
    assert (by.is_ecdsa, by.hash.name, by.salt_bytes) == (False, "sha256", salt)


def test_the_default_salt_has_20_bytes() -> None:
    """RSASSA-PSS without a salt's length has one of 20 bytes (RFC 4055 section 3.1)."""
    digest = encode(der.SEQUENCE, oid(SHA384), NULL)
    mask = encode(der.SEQUENCE, oid(MGF1), digest)
    found = signature.algorithm(
        identifier(PSS, encode(der.SEQUENCE, encode(0xA0, digest), encode(0xA1, mask)))
    )
    assert (found.hash.name, found.salt_bytes) == ("sha384", 20)


def test_another_mask_is_refused() -> None:
    """RSASSA-PSS with another mask function, or a mask without a hash, is refused."""
    digest = encode(der.SEQUENCE, oid(SHA256), NULL)
    for mask in (encode(der.SEQUENCE, oid("1.2.3"), digest), encode(der.SEQUENCE, oid(MGF1))):
        parameters = encode(der.SEQUENCE, encode(0xA0, digest), encode(0xA1, mask))
        with pytest.raises(AlgorithmRefused, match="another mask than MGF1"):
            signature.algorithm(identifier(PSS, parameters))


def test_an_identifier_has_one_or_two_values() -> None:
    """An AlgorithmIdentifier without an OID, or with more than parameters beside it, is not in DER."""
    for parts in ((), (oid("1.2.3"), NULL, NULL)):
        with pytest.raises(
            der.NotDer, match=r"^an AlgorithmIdentifier has an OID and at most one more value$"
        ):
            signature.algorithm(der.read(encode(der.SEQUENCE, *parts)))
    with pytest.raises(der.NotDer, match=r"^a SubjectPublicKeyInfo has two values$"):
        signature.public_key(der.read(encode(der.SEQUENCE)))


KEY_TEXTS = {
    "RSA-1024": "an RSA key of 1024 bits, not one of 2048 to 4096",
    "P-521": "a key on the curve secp521r1, not on P-256 or P-384",
    "secp256k1": "a key on the curve secp256k1, not on P-256 or P-384",
    "Ed25519": "a key of the kind 1.3.101.112, not RSA or an elliptic curve's",
    "ROCA": "an RSA key whose private key is easy to find (roca)",
    "primes that are close": "an RSA key whose private key is easy to find (fermat)",
    "a small factor": "an RSA key whose private key is easy to find (smallfactors)",
}


@pytest.mark.parametrize("kind", KEY_TEXTS)
def test_a_refused_key_is_named(kind: str) -> None:
    """The refusal of a key says which kind it is."""
    with pytest.raises(KeyRefused) as caught:
        signature.public_key(spki(WEAK[kind]))  # type: ignore[arg-type]
    assert str(caught.value) == KEY_TEXTS[kind]
    assert not signature.is_strong(WEAK[kind])


def test_a_key_that_is_none_is_not_strong() -> None:
    """A value that is not a public key is not strong."""
    assert not signature.is_strong("key")
    with pytest.raises(KeyRefused, match=r"^a key of the kind str$"):
        signature._strong("key")


def test_a_broken_key_is_refused() -> None:
    """A key that can't be read, or on a curve without a name, is refused with the reason."""
    curve = encode(der.SEQUENCE, oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7"))
    broken = encode(der.SEQUENCE, curve, encode(der.BIT_STRING, b"\0\4"))
    with pytest.raises(KeyRefused, match=r"^a key that can't be read: ."):
        signature.public_key(der.read(broken))
    for parameters in ((), (NULL,)):
        nameless = encode(der.SEQUENCE, oid("1.2.840.10045.2.1"), *parameters)
        with pytest.raises(KeyRefused, match=r"^an elliptic-curve key without the name of its curve$"):
            signature.public_key(der.read(encode(der.SEQUENCE, nameless, encode(der.BIT_STRING, b"\0"))))
    unknown = encode(der.SEQUENCE, oid("1.2.840.10045.2.1"), oid("1.2.3"))
    with pytest.raises(KeyRefused, match=r"."):
        signature.public_key(der.read(encode(der.SEQUENCE, unknown, encode(der.BIT_STRING, b"\0\4"))))
