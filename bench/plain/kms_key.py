"""The CA's key in KMS, for cryptography's builder of certificates."""

from __future__ import annotations

import hashlib
import os
from typing import NoReturn, cast

import boto3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

kms = boto3.client("kms")


class KmsKey(ec.EllipticCurvePrivateKey):
    """The key of a CA, whose private half is in KMS."""

    def __init__(self, ca: x509.Certificate) -> None:
        self._public = cast("ec.EllipticCurvePublicKey", ca.public_key())

    def sign(self, data: bytes | bytearray | memoryview, *_: object) -> bytes:
        """Return the ECDSA signature over `data`, with SHA-256."""
        answer = kms.sign(
            KeyId=os.environ["CA_KEY"],
            Message=hashlib.sha256(data).digest(),
            MessageType="DIGEST",
            SigningAlgorithm="ECDSA_SHA_256",
        )
        return answer["Signature"]

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """Return the curve."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Return the key's size in bits."""
        return self._public.key_size

    def _refuse(self, *_: object) -> NoReturn:
        raise NotImplementedError

    # cryptography's base class demands these.
    exchange = private_numbers = private_bytes = __copy__ = __deepcopy__ = _refuse  # type: ignore[assignment]
