"""The two symmetric keys of a secret, the names of the secrets, and the JSON of a secret.

Azure's services have two keys in the same way, so that one can be replaced while the other one is in use.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

KEY_BYTES = range(16, 65)
"""The lengths of a key in bytes (Azure IoT Hub Device Provisioning Service, "Symmetric key attestation":
keys of 16 to 64 bytes, Base64-encoded)."""

GENERATED_BYTES = 64
"""The length of a generated key, which is that of the keys that Azure generates (the same page)."""

GROUPS, HUBS = "groups", "sas"
"""The kinds of secrets: a group's keys, and the keys of an IoT hub."""


class KeysMalformed(ValueError):
    """A secret's text that holds no key pair. The message says why, and has no part of the text."""


@dataclass(frozen=True, repr=False)
class KeyPair:
    """A secret's two keys. It has no repr, so that a log cannot show the keys by accident."""

    primary: bytes
    secondary: bytes

    def __post_init__(self) -> None:
        """Refuse keys of another length. Raises KeysMalformed."""
        if len(self.primary) not in KEY_BYTES or len(self.secondary) not in KEY_BYTES:
            raise KeysMalformed(f"a key must have {KEY_BYTES[0]} to {KEY_BYTES[-1]} bytes")

    def to_json(self) -> str:
        """Return the text of the secret."""
        return json.dumps({"primary": encoded(self.primary), "secondary": encoded(self.secondary)})

    @classmethod
    def from_json(cls, text: str) -> KeyPair:
        """Return the keys of a secret. Raises KeysMalformed."""
        try:
            found = json.loads(text)
        # `from None`, because the error of the parser has the text.
        except (ValueError, RecursionError):
            raise KeysMalformed("it is no JSON") from None
        if not isinstance(found, dict):
            raise KeysMalformed("it is no JSON object")
        return cls(_key(found, "primary"), _key(found, "secondary"))

    def rolled(self, new: bytes) -> KeyPair:
        """Return the keys with a new primary key. The primary key becomes the secondary one."""
        return KeyPair(new, self.primary)


def prefix(stack: str, kind: str) -> str:
    """Return how the names of a stack's secrets of a kind begin. A slash and the secret's own name follow."""
    return f"{stack}/{kind}"


def encoded(key: bytes) -> str:
    """Return a key in Base64, as Azure's tools show it."""
    return base64.b64encode(key).decode()


def decoded(text: str) -> bytes:
    """Return the key that a text in Base64 holds. Raises KeysMalformed."""
    try:
        return base64.b64decode(text, validate=True)
    # The error of a text that is not ASCII has the text.
    except (binascii.Error, ValueError):
        raise KeysMalformed("a key is not Base64") from None


def _key(found: dict[str, Any], name: str) -> bytes:
    text = found.get(name)
    if not isinstance(text, str):
        raise KeysMalformed(f"it has no text {name}")
    return decoded(text)
