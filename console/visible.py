"""Make text visible that a device, or the maker of a certificate, has chosen.

A terminal obeys control characters. A reader does not see format characters, which hide text or reverse the
direction in which it is read. Every text that the console prints or puts on a page passes through here.
"""

from __future__ import annotations

import unicodedata

_INVISIBLE = ("C", "Zl", "Zp")
"""Unicode categories: control, format, surrogate, private and unassigned characters, and separators of lines
and paragraphs."""


def visible(text: str, kept: str = "") -> str:
    """Replace each invisible character by its code point, as in `[U+202E]`, but for those in `kept`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each
        if each in kept or not unicodedata.category(each).startswith(_INVISIBLE)
        else f"[U+{ord(each):04X}]"
        for each in text
    )
