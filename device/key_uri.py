"""Read the URIs that name keys in hardware: `pkcs11:` (RFC 7512) and `tpm2:`.

pkcs11:token=T;object=O?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/firstboot/pin
tpm2:handle=0x81010001    a persistent key of the TPM
tpm2:file=/factory/key    a key that the TPM wrapped, in a file (PEM, "TSS2 PRIVATE KEY")
tpm2:                     for --key: below the TPM's owner hierarchy; `parent=0x81000001` is another parent
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

LONGEST = 1_024
"""The characters of the longest URI that is read."""

# RFC 7512 section 2.3. An attribute that is not known here could name another object than the one meant.
_KNOWN = {
    "pkcs11": (
        {"token", "serial", "manufacturer", "model", "object", "id", "type"},
        {"module-path", "pin-source", "pin-value"},
    ),
    "tpm2": ({"handle", "file", "parent"}, {"tcti"}),
}


@dataclass(frozen=True)
class KeyUri:
    """The name of a key, or of the place where keys are made.

    `path` says which key it is, `query` how to reach it. The query may hold a PIN, so it is in no text for
    people, and not in the repr.
    """

    scheme: str
    path: str
    query: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.path}"

    def full(self) -> str:
        """Return the URI with its query."""
        return f"{self}?{self.query}" if self.query else str(self)

    def octets(self, name: str) -> bytes | None:
        """Return an attribute without percent-encoding, or None if the URI does not have it."""
        found = _split(self.path, ";") | _split(self.query, "&")
        return unquote_to_bytes(found[name]) if name in found else None

    def text(self, name: str) -> str | None:
        """Return an attribute as text. Raises ValueError if it is not UTF-8."""
        found = self.octets(name)
        if found is None:
            return None
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{name} of {self} is not UTF-8") from None  # the cause would show a PIN


def is_key_uri(text: str) -> bool:
    """Return whether `text` is a URI of a key in hardware, and not a file's name."""
    return text.partition(":")[0] in _KNOWN and ":" in text


def parse(text: str) -> KeyUri:
    """Return the URI in `text`. Raises ValueError, whose text holds no value of the query."""
    scheme, _, rest = text.partition(":")
    path, _, query = rest.partition("?")
    if scheme not in _KNOWN:
        raise ValueError("A key's URI begins with pkcs11: or tpm2:")
    if len(text) > LONGEST or not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError(f"A {scheme}: URI is at most {LONGEST} printable ASCII characters without spaces")
    uri = KeyUri(scheme, path, query)
    for part, separator, known in zip((path, query), ";&", _KNOWN[scheme], strict=True):
        _check(scheme, part, separator, known)
    for name in _KNOWN[scheme][0] - {"id"}:
        uri.text(name)
    if uri.text("type") not in {None, "private"}:
        raise ValueError(f"{uri} does not name a private key")
    if uri.octets("pin-value") is not None and uri.octets("pin-source") is not None:
        raise ValueError(f"{uri} has both pin-source and pin-value")  # RFC 7512 section 2.4
    return uri


def _check(scheme: str, part: str, separator: str, known: Collection[str]) -> None:
    names = [each.partition("=")[0] for each in part.split(separator)] if part else []
    if len(set(names)) < len(names):
        raise ValueError(f"A {scheme}: URI has an attribute twice")
    if not set(names) <= set(known) or any("=" not in each for each in part.split(separator) if part):
        raise ValueError(f"A {scheme}: URI has only NAME=VALUE with a NAME of {', '.join(sorted(known))}")


def _split(part: str, separator: str) -> dict[str, str]:
    return {name: value for name, _, value in (each.partition("=") for each in part.split(separator))}
