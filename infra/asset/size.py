"""Computes how large an asset is in the zip that CDK makes of it."""

from __future__ import annotations

import zlib
from functools import cache
from pathlib import Path

# An entry has two headers of 30 and 46 bytes with its name, and a data descriptor of 16 (PKWARE,
# APPNOTE.TXT, sections 4.3.7, 4.3.9 and 4.3.12). Compressed data may be larger in another zlib by a little.
_ENTRY = 92


@cache
def compressed(file: Path) -> int:
    """Return how many bytes the content of a file has in a zip."""
    content = file.read_bytes()
    return min(len(content), len(zlib.compress(content)))


def zipped(name: str, file: Path) -> int:
    """Return how many bytes a file takes in a zip under this name."""
    return compressed(file) + 2 * len(name) + _ENTRY
