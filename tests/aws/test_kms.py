"""The CA key in KMS signs, and does nothing else that a private key can do."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from firstboot.aws import clients
from firstboot.aws.kms import KmsKey, public_key
from firstboot.domain.errors import Unavailable


@pytest.fixture
def key(ca_key: str) -> KmsKey:
    """Return the CA key in KMS."""
    return KmsKey(clients.kms(), ca_key, public_key(clients.kms(), ca_key))


def test_its_signatures_verify(key: KmsKey) -> None:
    """A signature verifies, also over more than KMS's 4,096 bytes, because the digest is made here."""
    message = b"tbs" * 3_000
    signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    key.public_key().verify(signature, message, ec.ECDSA(hashes.SHA256()))
    assert (key.curve.name, key.key_size) == ("secp256r1", 256)


@pytest.mark.parametrize("algorithm", [hashes.SHA384(), utils.Prehashed(hashes.SHA256())])
def test_it_signs_with_one_algorithm_only(key: KmsKey, algorithm: hashes.HashAlgorithm) -> None:
    """An algorithm other than ECDSA with SHA-256 raises TypeError, because the role may use no other."""
    with pytest.raises(TypeError):
        key.sign(b"tbs", ec.ECDSA(algorithm))


@pytest.mark.parametrize(
    "ask", [KmsKey.private_numbers, KmsKey.private_bytes, lambda k: k.exchange(None, None)]
)
def test_the_private_half_is_not_available(key: KmsKey, ask: Callable[[KmsKey], object]) -> None:
    """The private numbers and bytes cannot be read, because the key never leaves KMS."""
    with pytest.raises(NotImplementedError):
        ask(key)


def test_a_copy_is_the_key(key: KmsKey) -> None:
    """A copy of the key is the key itself."""
    assert copy.copy(key) is key
    assert copy.deepcopy(key) is key


def test_a_key_that_is_not_there_is_unavailable(aws: None) -> None:
    """A missing key raises Unavailable, which is an outage for a device."""
    with pytest.raises(Unavailable):
        public_key(clients.kms(), "arn:aws:kms:us-east-1:123456789012:key/gone")
