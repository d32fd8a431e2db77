"""The CA key: an EllipticCurvePrivateKey whose private half only KMS has.

This is what pyca's page on cloud KMS recommends: `cryptography` signs certificates with it as with any key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from firstboot.aws.clients import answered
from firstboot.domain.errors import AuthorityKeyUnfit
from firstboot.pki.chain import smaller_s

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


def public_key(client: KMSClient, key_arn: str) -> ec.EllipticCurvePublicKey:
    """The public half of a KMS key.

    Raises AuthorityKeyUnfit for a key that is not on P-256, Unavailable.
    """
    with answered():
        der = client.get_public_key(KeyId=key_arn)["PublicKey"]
    key = load_der_public_key(der)
    # KMS signs by ECDSA with SHA-256 on another curve too (secp256k1).
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise AuthorityKeyUnfit(log=key_arn)
    return key


class KmsKey(ec.EllipticCurvePrivateKey):
    """A P-256 key in KMS. `sign` is one kms:Sign call; nothing else of a private key exists."""

    def __init__(self, client: KMSClient, key_arn: str, public: ec.EllipticCurvePublicKey) -> None:
        self._client = client
        self._key_arn = key_arn
        self._public = public

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        """An ECDSA-SHA256 signature (DER) over `data`.

        The digest is made here: KMS takes 4,096 bytes of message at most.
        Raises Unavailable.
        """
        algorithm = signature_algorithm.algorithm
        if isinstance(algorithm, utils.Prehashed) or not isinstance(algorithm, hashes.SHA256):
            raise TypeError("the CA key signs ECDSA with SHA-256 only")
        digest = hashes.Hash(hashes.SHA256())
        digest.update(bytes(data))
        with answered():
            answer = self._client.sign(
                KeyId=self._key_arn,
                Message=digest.finalize(),
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            )
        # One of two equal signatures, so that a certificate of ours has one fingerprint (see `chain.issued`).
        return smaller_s(answer["Signature"])

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """256 bits."""
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """The key does not agree on keys."""
        raise NotImplementedError

    def private_numbers(self) -> NoReturn:
        """The key never leaves KMS."""
        raise NotImplementedError

    def private_bytes(self, *_: object) -> NoReturn:
        """The key never leaves KMS."""
        raise NotImplementedError

    def __copy__(self) -> KmsKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> KmsKey:
        return self
