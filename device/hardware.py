"""Use a private key that stays in a PKCS#11 token or a TPM.

The state directory then holds a reference in the place of the key: the key's URI, and its public key. A
reference goes where the PEM of a key goes. The packages that reach the hardware are extras, so the modules
that need them are imported when a key is used.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Never, Protocol, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from . import key_uri
from .key_uri import KeyUri
from .refusal import Action, Refused

if TYPE_CHECKING:
    from cryptography.utils import Buffer


@dataclass(frozen=True)
class Reference:
    """A key in hardware.

    `spki` is the public key's DER; it is None for a bootstrap key, whose certificate has it. `wrapped` is a
    key that only one TPM can use (PEM, "TSS2 PRIVATE KEY").
    """

    uri: KeyUri
    spki: bytes | None = None
    wrapped: str | None = None

    def read_bytes(self) -> bytes:
        """Return what stands in the place of the key's PEM, as `Path.read_bytes` does for a key file."""
        members = {"uri": self.uri.full(), "wrapped": self.wrapped}
        if self.spki is not None:
            members["public"] = base64.b64encode(self.spki).decode()
        return json.dumps(members).encode()

    def stored(self) -> bytes:
        """Return what is written to disk: it has no query, so no PIN, and a new `--key` can change how the
        hardware is reached.
        """
        return replace(self, uri=replace(self.uri, query="")).read_bytes()


class Backend(Protocol):
    """One kind of hardware. Every function raises Refused if the hardware refuses or does not answer."""

    def sign(self, reference: Reference, digest: bytes) -> bytes:
        """Return the ECDSA signature (DER) of a SHA-256 digest."""

    def name(self, place: KeyUri) -> KeyUri:
        """Return the URI of a key that is to be made at `place`, the value of `--key`."""

    def generate(self, uri: KeyUri) -> Reference:
        """Make a P-256 key by this name, in the place of one that an interrupted call left."""

    def destroy(self, uri: KeyUri) -> None:
        """Destroy the key that `generate` made by this name, if it is there."""

    def for_openssl(self, reference: Reference) -> str:
        """Return the PEM by which a provider of OpenSSL 3 finds the key."""


def parse(key: bytes) -> Reference | None:
    """Return the reference in a key's place, or None if it is a key. Raises ValueError if it is damaged."""
    if not key.startswith(b"{"):
        return None
    try:
        members = json.loads(key)
        public, wrapped = members.get("public"), members.get("wrapped")
        spki = base64.b64decode(public, validate=True) if public is not None else None
        return Reference(key_uri.parse(members["uri"]), spki, wrapped)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("The reference to a key is damaged") from error


def private_key(reference: Reference, spki: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """Return the key as an object that signs. `spki` is its public key if the reference has none.

    Raises ValueError if the public key is missing or can't be read, or is not P-256.
    """
    public = load_der_public_key(reference.spki or spki or b"")
    if not (isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1)):
        raise ValueError("A key in hardware must be P-256 to sign here")  # noqa: TRY004 - as an unread key
    return HeldKey(reference, public)


class HeldKey(ec.EllipticCurvePrivateKey):
    """A P-256 key in hardware, which signs SHA-256 digests."""

    def __init__(self, reference: Reference, public: ec.EllipticCurvePublicKey) -> None:
        self._reference = reference
        self._public = public

    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Return the signature (DER). Raises Refused, also if the hardware has another key by this name."""
        if not isinstance(signature_algorithm.algorithm, hashes.SHA256):
            raise TypeError("A key in hardware signs SHA-256 digests only")
        digest = hashlib.sha256(data).digest()
        signature = backend(self._reference.uri).sign(self._reference, digest)
        try:
            self._public.verify(signature, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        except InvalidSignature as error:
            detail = f"{self._reference.uri} is not the key of the certificate or of the reference"
            raise Refused(Action.STOP, detail) from error
        return signature

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public key."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """Return the curve."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Return the bits of the key."""
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> Never:  # noqa: ARG002
        """Refuse: the key is for signatures."""
        raise TypeError("A key in hardware makes signatures only")

    def private_numbers(self) -> Never:
        """Refuse: the key does not leave the hardware."""
        raise TypeError("A key in hardware does not leave it")

    def private_bytes(
        self,
        encoding: serialization.Encoding,  # noqa: ARG002 - the names are cryptography's
        format: serialization.PrivateFormat,  # noqa: A002, ARG002
        encryption_algorithm: serialization.KeySerializationEncryption,  # noqa: ARG002
    ) -> Never:
        """Refuse: the key does not leave the hardware."""
        self.private_numbers()

    def __copy__(self) -> HeldKey:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> HeldKey:
        return self


def backend(uri: KeyUri) -> Backend:
    """Return the module for a kind of hardware. Raises ValueError if its package is not installed."""
    module, package = {"pkcs11": ("token_keys", "python-pkcs11"), "tpm2": ("tpm_keys", "tpm2-pytss")}[
        uri.scheme
    ]
    try:
        return cast("Backend", importlib.import_module(f".{module}", __package__))
    except ImportError as error:
        extra = f"pip install 'firstboot-device[{uri.scheme}]'"
        raise ValueError(f"A key of {uri.scheme}: needs {package}: {extra}") from error
