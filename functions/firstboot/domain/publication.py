"""The published fleet as an object of the bucket, and the fleet that it puts in force."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from firstboot.domain.fleet import MISSHAPEN, Fleet

TOMBSTONE = b'{"base":null}'
"""The content that ends a publication: it builds on no deployed fleet, so it is never in force.

Versions that do not know it read its `base` in the same way.
"""


class Unreadable(Exception):
    """The published object holds nothing that this version can read as a fleet."""


@dataclass(frozen=True)
class Publication:
    """The published object. `etag` is S3's mark of this content, which a conditional write names."""

    text: bytes
    etag: str

    @property
    def base(self) -> str | None:
        """Return the hash of the deployed fleet that the publication builds on; None if it was ended.

        Raises Unreadable.
        """
        try:
            base = json.loads(self.text)["base"]
        except MISSHAPEN as error:
            raise Unreadable(repr(error)) from error
        if isinstance(base, str | None):
            return base
        raise Unreadable(f"the base is {base!r}")

    @property
    def digest(self) -> str:
        """Return the SHA-256 (hex) of the content."""
        return hashlib.sha256(self.text).hexdigest()


def in_force(published: Publication | None, deployed: Fleet) -> Fleet:
    """Return the fleet in force: the published one if it builds on the deployed one, else the deployed one.

    Raises Unreadable if the published fleet, or what it builds on, can't be read.
    """
    # A fleet of another version may have another shape, so of another deployment's fleet only `base` is read.
    if published is None or published.base != deployed.hash:
        return deployed
    try:
        return Fleet.from_json(published.text)
    except MISSHAPEN as error:
        raise Unreadable(repr(error)) from error
