"""Read DER (ITU-T X.690) without accepting a second encoding of the same value. Pure.

A certificate that can be written in two ways has two fingerprints, and two readers may see two meanings in
it. So lengths must be minimal, no string may be in parts, and nothing may follow. Three deviations are read
because they give one value in every reader and because makers' tools write them: a BOOLEAN that is true by
any non-zero octet, a SET in the sender's order, and a default that is written out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31

MAX_DEPTH = 24
"""Levels that are read. A certificate has about ten; a bound keeps a sender from exhausting the stack."""

_MAX_NUMBER = 1_024
"""Octets of an integer or an object identifier that is read as numbers. RSA-4096 has 513. Python writes no
number of more than 4,300 digits, so a message about one of 1,786 octets would be another error."""

_UNIVERSAL_CONSTRUCTED = {SEQUENCE, SET, 0x28}
"""SEQUENCE, SET and EXTERNAL. Every other universal type is primitive in DER (X.690 section 10.2)."""


class NotDer(ValueError):
    """The bytes are not the DER encoding of one value."""


class Element(NamedTuple):
    """One DER element.

    `tag` is the identifier octet, `encoded` all bytes, `content` those after the length.
    """

    tag: int
    encoded: bytes
    content: bytes
    children: tuple[Element, ...] = ()

    def oid(self) -> str:
        """Return the object identifier in dotted form. Raises NotDer."""
        return _dotted(self._number(OID))

    def integer(self) -> int:
        """Return the integer. Raises NotDer."""
        return int.from_bytes(self._number(INTEGER), "big", signed=True)

    def boolean(self) -> bool:
        """Return the boolean: false is the octet 0, true any other. Raises NotDer."""
        return self.expect(BOOLEAN).content != b"\0"

    def bits(self) -> bytes:
        """Return the octets of a bit string that has whole octets. Raises NotDer."""
        if self.expect(BIT_STRING).content[0]:
            raise NotDer("a bit string is not a whole number of octets")
        return self.content[1:]

    def time(self) -> datetime:
        """Return a time to the second, with a Z, in either form (RFC 5280 section 4.1.2.5). Raises NotDer."""
        try:
            text = self.content.decode("ascii")
            if not text[:-1].isdecimal() or text[-1:] != "Z":
                raise NotDer("a time has digits and a Z")
            if self.tag == UTC_TIME and len(text) == 13:
                text = ("19" if text[0] >= "5" else "20") + text
            elif self.tag != GENERALIZED_TIME or len(text) != 15:
                raise NotDer("a time has 12 digits as UTCTime or 14 as GeneralizedTime")
            # `strptime` would do the same with a regular expression, in three times the time.
            month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
            return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC)
        except ValueError as error:
            raise NotDer(f"not a time: {self.content[:20]!r}") from error

    def expect(self, tag: int) -> Element:
        """Return the element itself. Raises NotDer if its tag is another."""
        if self.tag != tag:
            raise NotDer(f"expected tag {tag:#04x}, found {self.tag:#04x}")
        return self

    def _number(self, tag: int) -> bytes:
        content = self.expect(tag).content
        if len(content) > _MAX_NUMBER:
            raise NotDer(f"a number of more than {_MAX_NUMBER} octets")
        return content


def read(der: bytes) -> Element:
    """Return the one element that `der` is, with everything in it checked.

    The content of an OCTET STRING and of a BIT STRING is not read. Raises NotDer.
    """
    return _whole(der, MAX_DEPTH, may_stop=False)


def read_top(der: bytes, levels: int) -> Element:
    """Return the one element that `der` is, and its descendants to `levels` below it.

    What is deeper is not read, so no form of it is an error. Raises NotDer.
    """
    return _whole(der, levels, may_stop=True)


def encode(tag: int, *parts: bytes) -> bytes:
    """Return the element with that identifier octet and the concatenated `parts` as content."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _whole(der: bytes, levels: int, *, may_stop: bool) -> Element:
    end = _end(der)
    if end != len(der):
        raise NotDer(f"{len(der) - end} bytes follow the value")
    (element,) = _elements(der, levels, may_stop=may_stop)
    return element


def _end(der: bytes) -> int:
    """Return where the first element of `der` ends."""
    if len(der) < _SHORTEST:
        raise NotDer("the value ends early")
    length, begin = _length(der, 1)
    if begin + length > len(der):
        raise NotDer("the value ends early")
    return begin + length


def _elements(der: bytes, levels: int, *, may_stop: bool) -> tuple[Element, ...]:
    """Return the elements that `der` is, one after the other."""
    # This loop is a large part of the CPU of a refused request, so it calls little.
    found, at, size = [], 0, len(der)
    while at < size:
        if at + _SHORTEST > size:
            raise NotDer("the value ends early")
        tag, length, begin = der[at], der[at + 1], at + 2
        if length >= _LONG:
            length, begin = _length(der, at + 1)
        end = begin + length
        if end > size:
            raise NotDer("the value ends early")
        content = der[begin:end]
        if tag not in _TAGS:
            _check_tag(tag)
        children: tuple[Element, ...] = ()
        if levels:
            if (check := _CONTENTS.get(tag)) and not check(content):
                raise NotDer(f"the content of tag {tag:#04x} is not in DER")
            if tag & 0x20:
                inner = _elements if end - begin > _SHORT else _remembered
                children = inner(content, levels - 1, may_stop=may_stop)
        elif not may_stop:
            raise NotDer(f"more than {MAX_DEPTH} levels")
        found.append(_made(Element, (tag, der[at:end], content, children)))
        at = end
    return tuple(found)


_SHORT = 128
_remembered = lru_cache(1024)(_elements)
"""Elements in at most 128 octets are remembered, because certificates of one group have most in common."""

_made: Callable[[type[Element], tuple[int, bytes, bytes, tuple[Element, ...]]], Element] = tuple.__new__
"""Makes an element in a third of the time that the class takes."""

_SHORTEST, _LONG = 2, 0x80
"""The octets of the shortest element, and the first octet of a length of several octets."""


def _length(der: bytes, at: int) -> tuple[int, int]:
    first = der[at]
    if first < _LONG:
        return first, at + 1
    octets = der[at + 1 : at + 1 + (first & 0x7F)]
    length = int.from_bytes(octets, "big")
    # X.690 section 10.1: definite, in the fewest octets. The first octet of a long form is not 0.
    if first in (0x80, 0xFF) or len(octets) != first & 0x7F or octets[0] == 0 or length < _LONG:
        raise NotDer("a length is indefinite or not minimal")
    return length, at + 1 + len(octets)


def _check_tag(tag: int) -> None:
    if tag & 0x1F == 0x1F or tag == 0:
        raise NotDer("a tag that no certificate or CSR has")
    if tag < 0x40 and (tag & 0x20 != 0) != (tag | 0x20 in _UNIVERSAL_CONSTRUCTED):
        raise NotDer(f"tag {tag:#04x}: a string in parts, or a sequence without any")


_TAGS = frozenset(
    {BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OID, SEQUENCE, SET, UTC_TIME, 0x0C, 0x13, 0xA0, 0xA3}
)
"""The tags of most elements. They need no check."""


def _is_integer(content: bytes) -> bool:
    """X.690 section 8.3.2: at least one octet, and not nine equal bits at the start."""
    return len(content) == 1 or (len(content) > 1 and not _repeats_sign(content))


def _repeats_sign(content: bytes) -> bool:
    return (content[0] == 0 and content[1] < 0x80) or (content[0] == 0xFF and content[1] >= 0x80)


def _is_bit_string(content: bytes) -> bool:
    """X.690 section 11.2.1: the unused bits of the last octet are 0."""
    if not content or content[0] > 7 or (content[0] and len(content) == 1):
        return False
    return not content[-1] & ((1 << content[0]) - 1) if content[0] else True


def _is_oid(content: bytes) -> bool:
    """X.690 section 8.19.2: the last octet ends a number, and no number has leading zeros."""
    if not content or content[-1] >= 0x80 or content[0] == 0x80:
        return False
    return not _LEADING_ZERO.search(content)


_LEADING_ZERO = re.compile(rb"[\x00-\x7f]\x80")
"""The end of a number in an OID, and a next number that begins with seven bits of 0."""

_CONTENTS = {
    BOOLEAN: lambda content: len(content) == 1,
    INTEGER: _is_integer,
    BIT_STRING: _is_bit_string,
    NULL: lambda content: not content,
    OID: _is_oid,
}


# Certificates of one group have the same ones.
@lru_cache(maxsize=64)
def _dotted(content: bytes) -> str:
    numbers, number = [], 0
    for octet in content:
        number = number << 7 | octet & 0x7F
        if octet < 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))
