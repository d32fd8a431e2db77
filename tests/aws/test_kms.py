"""The CA key: it signs, and does nothing else of what a private key does."""

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
    """A key in KMS."""
    return KmsKey(clients.kms(), ca_key, public_key(clients.kms(), ca_key))


def test_its_signatures_verify(key: KmsKey) -> None:
    """Over more than KMS's 4,096 bytes of message too: the digest is made here."""
    message = b"tbs" * 3_000
    signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    key.public_key().verify(signature, message, ec.ECDSA(hashes.SHA256()))
    assert (key.curve.name, key.key_size) == ("secp256r1", 256)


@pytest.mark.parametrize("algorithm", [hashes.SHA384(), utils.Prehashed(hashes.SHA256())])
def test_it_signs_one_way_only(key: KmsKey, algorithm: hashes.HashAlgorithm) -> None:
    """The role may sign ECDSA_SHA_256 only; asking for more is a fault here, not there."""
    with pytest.raises(TypeError):
        key.sign(b"tbs", ec.ECDSA(algorithm))


@pytest.mark.parametrize(
    "ask", [KmsKey.private_numbers, KmsKey.private_bytes, lambda k: k.exchange(None, None)]
)
def test_the_private_half_is_not_to_be_had(key: KmsKey, ask: Callable[[KmsKey], object]) -> None:
    """The key never leaves KMS."""
    with pytest.raises(NotImplementedError):
        ask(key)


def test_a_copy_is_the_key(key: KmsKey) -> None:
    """There is but one key, however it is copied."""
    assert copy.copy(key) is key
    assert copy.deepcopy(key) is key


def test_a_key_that_is_not_there_is_unavailable(aws: None) -> None:
    """A disabled or deleted key is an outage to a device, with the reason in the log."""
    with pytest.raises(Unavailable):
        public_key(clients.kms(), "arn:aws:kms:us-east-1:123456789012:key/gone")
