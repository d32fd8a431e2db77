"""Shared access signatures, as Azure's device services make and read them.

https://learn.microsoft.com/azure/iot-hub/authenticate-authorize-sas#sas-token-structure
https://learn.microsoft.com/azure/iot-dps/concepts-symmetric-key-attestation

    SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={policy}]
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, unquote

from firstboot.domain.clock import epoch

_SCHEME = "SharedAccessSignature "
_MAX_LENGTH = 2_048
_MAX_DIGITS = 12
_MEMBERS = frozenset({"sr", "sig", "se", "skn"})


class SasMalformed(ValueError):
    """A text that is no shared access signature; the message says why."""


@dataclass(frozen=True)
class UnverifiedSas:
    """A parsed signature. `resource` is decoded. `ends` is in seconds since 1970, and of any size."""

    resource: str
    policy: str | None
    ends: int
    signed: bytes
    signature: bytes

    def is_by(self, key: bytes) -> bool:
        """Return whether `key` made the signature. Each key takes the same time to compare."""
        return hmac.compare_digest(_hmac(key, self.signed), self.signature)


def parse(text: str) -> UnverifiedSas:
    """Return a shared access signature in the form of the header Authorization. Raises SasMalformed."""
    if len(text) > _MAX_LENGTH or not text.isascii() or not text.startswith(_SCHEME):
        raise SasMalformed("it must be ASCII and begin with SharedAccessSignature")
    pairs = [each.partition("=")[::2] for each in text.removeprefix(_SCHEME).split("&")]
    members = dict(pairs)
    if len(members) != len(pairs) or not {"sr", "sig", "se"} <= members.keys() <= _MEMBERS:
        raise SasMalformed("it must have sr, sig and se once, and may have skn")
    ends = members["se"]
    if not ends.isdecimal() or len(ends) > _MAX_DIGITS:
        raise SasMalformed("se must be the seconds since 1970")
    try:
        signature = base64.b64decode(unquote(members["sig"]), validate=True)
    except ValueError as error:
        raise SasMalformed("sig must be base64") from error
    # Microsoft's own clients do not all encode the resource. What was sent is what was signed.
    signed = f"{members['sr']}\n{ends}".encode()
    policy = unquote(members["skn"]) if "skn" in members else None
    return UnverifiedSas(unquote(members["sr"]), policy, int(ends), signed, signature)


def make(resource: str, key: bytes, ends: datetime, policy: str | None = None) -> str:
    """Return a shared access signature for `resource` that ends at `ends`."""
    encoded = quote(resource, safe="")
    signature = base64.b64encode(_hmac(key, f"{encoded}\n{epoch(ends)}".encode())).decode()
    named = f"&skn={quote(policy, safe='')}" if policy else ""
    return f"{_SCHEME}sr={encoded}&sig={quote(signature, safe='')}&se={epoch(ends)}{named}"


def derived(group_key: bytes, name: str) -> bytes:
    """Return the key of the device `name` in a group whose devices' keys derive from `group_key`."""
    return _hmac(group_key, name.encode())


def _hmac(key: bytes, content: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).digest()
