"""Keys in a PKCS#11 token. This module needs python-pkcs11, so it is imported only for a `pkcs11:` URI."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pkcs11
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import Attribute
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

from .hardware import Reference
from .key_uri import KeyUri
from .refusal import Action, Refused

MODULE = "PKCS11_MODULE_PATH"
"""The environment variable of the module if a URI has no `module-path`. OpenSSL's engine reads it too."""


def sign(reference: Reference, digest: bytes) -> bytes:
    """See Backend. The token signs the digest, because few tokens hash."""
    uri = reference.uri
    with _session(uri) as session:
        key = session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, label=uri.text("object"), id=uri.octets("id"))
        numbers = key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA)
    half = len(numbers) // 2
    return encode_dss_signature(int.from_bytes(numbers[:half], "big"), int.from_bytes(numbers[half:], "big"))


def name(place: KeyUri) -> KeyUri:
    """See Backend. The key has the label of `place` and an id of its own."""
    if not place.text("object") or place.octets("id") is not None:
        raise ValueError(f"--key {place} needs `object`, the label of the keys to make, and no `id`")
    return replace(place, path=f"{place.path};id=firstboot-{secrets.token_hex(8)}")


def generate(uri: KeyUri) -> Reference:
    """See Backend."""
    with _session(uri, writes=True) as session:
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
        public, _ = parameters.generate_keypair(
            store=True,
            id=uri.octets("id"),
            label=uri.text("object"),
            capabilities=pkcs11.MechanismFlag.SIGN | pkcs11.MechanismFlag.VERIFY,
            private_template={Attribute.EXTRACTABLE: False, Attribute.SENSITIVE: True},
        )
        return Reference(uri, encode_ec_public_key(public))


def destroy(uri: KeyUri) -> None:
    """See Backend. The public key is an object of its own."""
    wanted = {Attribute.LABEL: uri.text("object"), Attribute.ID: uri.octets("id")}
    with _session(uri, writes=True) as session:
        for found in list(session.get_objects(wanted)):
            found.destroy()


def for_openssl(reference: Reference) -> str:
    """See Backend. The form is that of pkcs11-provider (its docs/provider-pkcs11.7)."""
    uri = reference.uri
    if uri.octets("type") is None:
        uri = replace(uri, path=f"{uri.path};type=private")  # the public key has the same label and id
    text = _element(0x1A, b"PKCS#11 Provider URI v1.0") + _element(0x0C, uri.full().encode())
    der = _element(0x30, text)
    lines = base64.encodebytes(der).decode()
    return f"-----BEGIN PKCS#11 PROVIDER URI-----\n{lines}-----END PKCS#11 PROVIDER URI-----\n"


def _element(tag: int, content: bytes) -> bytes:
    length = len(content)
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, *([length] if length < 0x80 else [0x80 + len(octets), *octets])]) + content


@contextmanager
def _session(uri: KeyUri, *, writes: bool = False) -> Iterator[Any]:
    """Log in to the token. An error of the token ends in Refused with the error's name, which has no PIN."""
    module = uri.text("module-path") or os.environ.get(MODULE)
    if not module:
        raise ValueError(f"{uri} needs module-path, or {MODULE} in the environment")
    pin = _pin(uri)
    try:
        with _token(pkcs11.lib(module).get_tokens(), uri).open(rw=writes, user_pin=pin) as session:
            yield session
    except (pkcs11.exceptions.PKCS11Error, RuntimeError) as error:
        raise Refused(Action.STOP, f"The token of {uri}: {type(error).__name__}") from error


def _token(present: Iterable[pkcs11.Token], uri: KeyUri) -> pkcs11.Token:
    wanted = {
        "label": uri.text("token"),
        "serial": uri.octets("serial"),
        "manufacturer_id": uri.text("manufacturer"),
        "model": uri.text("model"),
    }
    wanted = {name: value for name, value in wanted.items() if value is not None}
    found = [token for token in present if all(getattr(token, name) == wanted[name] for name in wanted)]
    if len(found) != 1:
        raise Refused(Action.STOP, f"{len(found)} tokens are present that {uri} can mean, not one")
    return found[0]


def _pin(uri: KeyUri) -> str | None:
    source = uri.text("pin-source")
    if source is None:
        return uri.text("pin-value")
    return Path(source.removeprefix("file:").replace("//", "/", 1)).read_text().rstrip("\r\n")
