"""Make and destroy the keys in hardware of one state directory.

A token has room for few keys. So the directory lists the keys that were made for it, each before it is made,
and a key that is in use no longer is destroyed. No other key is.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from . import hardware, key_uri
from .hardware import backend
from .key_uri import KeyUri
from .refusal import Refused
from .store import Store


@dataclass(frozen=True)
class HeldKeys:
    """The keys at `place`, the value of `--key`, that were made for `store`. Its lock must be held."""

    store: Store
    place: KeyUri

    def new(self) -> bytes:
        """Make a P-256 key and return its reference. A name that an interrupted call left is used again."""
        self.forget()
        mine = f"{self.place};id="
        left = [name for name in self._unused() if name.startswith(mine)]
        uri = self._uri(left[0]) if left else backend(self.place).name(self.place)
        self.store.keep_made(list(dict.fromkeys([*self.store.made(), str(uri)])))
        return backend(uri).generate(uri).read_bytes()

    def forget(self) -> None:
        """Destroy the keys that no file names. Those that can't be reached now are left to a later call."""
        for name in self._unused():
            uri = self._uri(name)
            with suppress(Refused):
                backend(uri).destroy(uri)
                self.store.keep_made([other for other in self.store.made() if other != name])

    def _unused(self) -> list[str]:
        references = filter(None, (hardware.parse(key) for key in self.store.all_keys()))
        used = {str(reference.uri) for reference in references}
        return [name for name in self.store.made() if name not in used]

    def _uri(self, name: str) -> KeyUri:
        return replace(key_uri.parse(name), query=self.place.query)
