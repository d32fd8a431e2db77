"""The CA key: an EllipticCurvePrivateKey whose private half is in KMS only, and KMS's description of it.

`cryptography` signs certificates with it as with any key. pyca's page on cloud KMS recommends this way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from firstboot.aws.clients import answered
from firstboot.domain.ca_key import KeyDescription, KeyGrant
from firstboot.domain.errors import AuthorityKeyUnfit

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


def public_key(client: KMSClient, key_arn: str) -> ec.EllipticCurvePublicKey:
    """Return the public half of a KMS key (GetPublicKey).

    Raises AuthorityKeyUnfit for a key that is not on P-256, and Unavailable.
    """
    with answered():
        der = client.get_public_key(KeyId=key_arn)["PublicKey"]
    key = load_der_public_key(der)
    # A deployer may name any key, and KMS signs ECDSA with SHA-256 on secp256k1 too, which many verifiers of
    # certificates do not know.
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise AuthorityKeyUnfit(log=key_arn)
    return key


class KmsKey(ec.EllipticCurvePrivateKey):
    """A P-256 key in KMS.

    `sign` is one call of kms:Sign. The other operations of a private key are not implemented.
    """

    def __init__(self, client: KMSClient, key_arn: str, public: ec.EllipticCurvePublicKey) -> None:
        self._client = client
        self._key_arn = key_arn
        self._public = public

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        """Return the ECDSA-SHA256 signature (DER) over `data` (Sign).

        When the reply is lost, the repeat makes another valid signature over the same data. Raises TypeError
        for another algorithm, and Unavailable.
        """
        algorithm = signature_algorithm.algorithm
        if isinstance(algorithm, utils.Prehashed) or not isinstance(algorithm, hashes.SHA256):
            raise TypeError("the CA key signs ECDSA with SHA-256 only")
        # KMS takes a message of 4,096 bytes at most, so it gets the digest.
        digest = hashes.Hash(hashes.SHA256())
        digest.update(bytes(data))
        with answered():
            answer = self._client.sign(
                KeyId=self._key_arn,
                Message=digest.finalize(),
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            )
        return answer["Signature"]

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """Return P-256."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Return 256, the key's size in bits."""
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Raise NotImplementedError: the role may only sign."""
        raise NotImplementedError

    def private_numbers(self) -> NoReturn:
        """Raise NotImplementedError: the private half does not leave KMS."""
        raise NotImplementedError

    def private_bytes(self, *_: object) -> NoReturn:
        """Raise NotImplementedError: the private half does not leave KMS."""
        raise NotImplementedError

    # cryptography's base class demands both. A copy would sign with the same key in KMS.
    def __copy__(self) -> KmsKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> KmsKey:
        return self


class DescribedKey:
    """A key as KMS describes it. Every method raises Unavailable."""

    def __init__(self, client: KMSClient, key_arn: str) -> None:
        self._client = client
        self._key_arn = key_arn

    def description(self) -> KeyDescription:
        """Return the key's state (DescribeKey)."""
        with answered():
            found = self._client.describe_key(KeyId=self._key_arn)["KeyMetadata"]
        return KeyDescription(found["KeyState"], found.get("DeletionDate"), found.get("ValidTo"))

    def grants(self) -> list[KeyGrant]:
        """Return all grants on the key (ListGrants, all pages)."""
        pages = self._client.get_paginator("list_grants").paginate(KeyId=self._key_arn)
        with answered():
            return [
                KeyGrant(each["GrantId"], each.get("GranteePrincipal", ""), tuple(each["Operations"]))
                for page in pages
                for each in page["Grants"]
            ]

    def policy(self) -> str:
        """Return the key's policy as JSON (GetKeyPolicy)."""
        with answered():
            return self._client.get_key_policy(KeyId=self._key_arn, PolicyName="default")["Policy"]
