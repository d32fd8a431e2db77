"""Removes from compiled modules what the loader does not read: symbols for linkers and debuggers."""

from __future__ import annotations

import struct

# System V ABI, "ELF-64 Object File Format": the header's size and its fields e_phoff, e_shoff, e_phentsize,
# e_phnum, e_shentsize, e_shnum and e_shstrndx; then p_offset and p_filesz of a program header.
_HEADER = 64
_PROGRAM_TABLE, _SECTION_TABLE = 32, 40
_PROGRAM_COUNTS, _SECTION_COUNTS = 54, 58
_OFFSET, _SIZE = 8, 32


def loaded(content: bytes) -> bytes:
    """Return a shared object with those bytes only that its program headers name.

    The loader goes by them alone, and the table of sections is optional in a shared object (System V ABI,
    "ELF-64 Object File Format"). Every byte stays where it was; what lies between becomes zero, which
    takes no room in a zip.
    """
    (table,) = struct.unpack_from("<Q", content, _PROGRAM_TABLE)
    size, count = struct.unpack_from("<HH", content, _PROGRAM_COUNTS)
    spans = [(0, _HEADER), (table, size * count)]
    for at in range(table, table + size * count, size):
        (start,) = struct.unpack_from("<Q", content, at + _OFFSET)
        (length,) = struct.unpack_from("<Q", content, at + _SIZE)
        spans.append((start, length))
    kept = bytearray(max(start + length for start, length in spans))
    for start, length in spans:
        kept[start : start + length] = content[start : start + length]
    struct.pack_into("<Q", kept, _SECTION_TABLE, 0)
    struct.pack_into("<HHH", kept, _SECTION_COUNTS, 0, 0, 0)
    return bytes(kept)


def is_elf64(content: bytes) -> bool:
    """Return whether a file is a shared object that `loaded` reads: 64 bits, little-endian."""
    return content[:6] == b"\x7fELF\x02\x01"
