"""DER is read strictly: one encoding of one value."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.pki import der
from firstboot.pki.der import NotDer, encode, read


def nested(leaf: bytes, levels: int) -> bytes:
    """Return `leaf` within that many SEQUENCEs."""
    for _ in range(levels):
        leaf = encode(der.SEQUENCE, leaf)
    return leaf


@given(st.recursive(st.binary(max_size=40), lambda inner: st.lists(inner, max_size=4), max_leaves=20))
def test_what_is_encoded_is_read(tree: object) -> None:
    """Reading an encoded tree gives the same tree."""

    def encoded(node: object) -> bytes:
        if isinstance(node, bytes):
            return encode(der.OCTET_STRING, node)
        assert isinstance(node, list)
        return encode(der.SEQUENCE, *map(encoded, node))

    def found(element: der.Element) -> object:
        return element.content if element.tag == der.OCTET_STRING else [*map(found, element.children)]

    assert found(read(encoded(tree))) == tree


@given(st.binary(max_size=60))
def test_any_bytes_are_der_or_refused(data: bytes) -> None:
    """The reader raises no other error, and what it reads is all of the input."""
    try:
        element = read(data)
    except NotDer:
        return
    assert element.encoded == data


@given(st.integers(0, 200), st.integers(1, 5))
def test_bytes_before_the_end_or_after_it_are_refused(length: int, change: int) -> None:
    """A value that is cut short or followed by bytes is refused."""
    good = encode(der.SEQUENCE, encode(der.OCTET_STRING, bytes(length)))
    for bad in (good[:-change], good + bytes(change)):
        with pytest.raises(NotDer):
            read(bad)


REFUSED = {
    "empty": b"",
    "a tag alone": b"\x30",
    "an indefinite length": b"\x30\x80\x00\x00",
    "a long form for a short length": b"\x04\x81\x01a",
    "a length with a leading zero": b"\x04\x82\x00\x80" + bytes(128),
    "the reserved length": b"\x04\xff" + bytes(127),
    "a string in parts": b"\x24\x03\x04\x01a",
    "a primitive SEQUENCE": b"\x10\x00",
    "a tag of two octets": b"\x1f\x81\x01\x00",
    "a tag of two octets, and a length": b"\x1f\x01\x00",
    "the end-of-contents tag": b"\x00\x00",
    "a BOOLEAN of no octet": b"\x01\x00",
    "a BOOLEAN of two octets": b"\x01\x02\xff\xff",
    "an INTEGER of no octet": b"\x02\x00",
    "an INTEGER with a needless 0": b"\x02\x02\x00\x01",
    "an INTEGER with a needless FF": b"\x02\x02\xff\xff",
    "an INTEGER with a needless FF before 80": b"\x02\x02\xff\x80",
    "a BIT STRING of no octet": b"\x03\x00",
    "a BIT STRING with 8 unused bits": b"\x03\x02\x08\x00",
    "a BIT STRING whose unused bits are set": b"\x03\x02\x01\x01",
    "a BIT STRING whose last octet has unused bits set": b"\x03\x03\x01\x02\x01",
    "an empty BIT STRING with unused bits": b"\x03\x01\x01",
    "a NULL with content": b"\x05\x01\x00",
    "an empty OID": b"\x06\x00",
    "an OID that ends early": b"\x06\x01\x80",
    "an OID that ends in 80": b"\x06\x03\x2a\x81\x80",
    "an OID that begins with 80": b"\x06\x02\x80\x01",
    "an OID with a leading zero": b"\x06\x03\x2a\x80\x01",
    "too many levels": nested(b"\x05\x00", der.MAX_DEPTH + 1),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_another_encoding_is_refused(kind: str) -> None:
    """A value that is not in DER is refused, alone and within another."""
    for bad in (REFUSED[kind], encode(der.SEQUENCE, REFUSED[kind]) if REFUSED[kind] else b"\x30"):
        with pytest.raises(NotDer):
            read(bad)


TAKEN: dict[str, tuple[bytes, Callable[[der.Element], bool]]] = {
    "true by another octet": (b"\x01\x01\x01", lambda element: element.boolean() is True),
    "false": (b"\x01\x01\x00", lambda element: element.boolean() is False),
    "a BIT STRING with an unused bit": (b"\x03\x03\x01\x01\x02", lambda element: element.content[0] == 1),
    "a BIT STRING without octets": (b"\x03\x01\x00", lambda element: element.bits() == b""),
    "a negative INTEGER": (b"\x02\x01\xff", lambda element: element.integer() == -1),
    "an INTEGER with a sign octet": (b"\x02\x02\x00\x80", lambda element: element.integer() == 128),
    "an OID under 2": (b"\x06\x03\x88\x37\x03", lambda element: element.oid() == "2.999.3"),
    "UTCTime until 1999": (b"\x17\x0d500101000000Z", lambda element: element.time().year == 1950),
    "UTCTime until 2049": (b"\x17\x0d491231235959Z", lambda element: element.time().year == 2049),
    "GeneralizedTime": (
        b"\x18\x0f99991231235959Z",
        lambda element: element.time() == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    ),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_a_value_is_read(kind: str) -> None:
    """A value in DER is read as what it stands for."""
    encoded, holds = TAKEN[kind]
    assert holds(read(encoded))


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x17\x0b5001010000Z",
        b"\x17\x0d500101000000z",
        b"\x17\x0d501301000000Z",
        b"\x18\x1120340301000000.5Z",
        b"\x18\x13203403010000+0100",
        b"\x18\x0f20340230000000Z",
        b"\x17\x0d5\xb201010000000",
    ],
)
def test_a_time_of_another_form_is_refused(encoded: bytes) -> None:
    """A time has seconds, no fraction, and the zone Z (RFC 5280 section 4.1.2.5)."""
    with pytest.raises(NotDer):
        read(encoded).time()


def test_what_is_below_the_wanted_levels_is_not_read() -> None:
    """`read_top` leaves alone what is deeper, in any form."""
    outer = encode(der.SEQUENCE, encode(der.SEQUENCE, b"\x30\x80 no DER"))
    assert der.read_top(outer, 1).children[0].children == ()
    with pytest.raises(NotDer):
        der.read_top(outer, 3)


TEXTS = {
    "empty": "the value ends early",
    "a tag alone": "the value ends early",
    "an indefinite length": "a length is indefinite or not minimal",
    "a long form for a short length": "a length is indefinite or not minimal",
    "a length with a leading zero": "a length is indefinite or not minimal",
    "the reserved length": "a length is indefinite or not minimal",
    "a string in parts": "tag 0x24: a string in parts, or a sequence without any",
    "a primitive SEQUENCE": "tag 0x10: a string in parts, or a sequence without any",
    "a tag of two octets": "a length is indefinite or not minimal",
    "a tag of two octets, and a length": "a tag that no certificate or CSR has",
    "the end-of-contents tag": "a tag that no certificate or CSR has",
    "a BOOLEAN of no octet": "the content of tag 0x01 is not in DER",
    "a BOOLEAN of two octets": "the content of tag 0x01 is not in DER",
    "an INTEGER of no octet": "the content of tag 0x02 is not in DER",
    "an INTEGER with a needless 0": "the content of tag 0x02 is not in DER",
    "an INTEGER with a needless FF": "the content of tag 0x02 is not in DER",
    "an INTEGER with a needless FF before 80": "the content of tag 0x02 is not in DER",
    "a BIT STRING of no octet": "the content of tag 0x03 is not in DER",
    "a BIT STRING with 8 unused bits": "the content of tag 0x03 is not in DER",
    "a BIT STRING whose unused bits are set": "the content of tag 0x03 is not in DER",
    "a BIT STRING whose last octet has unused bits set": "the content of tag 0x03 is not in DER",
    "an empty BIT STRING with unused bits": "the content of tag 0x03 is not in DER",
    "a NULL with content": "the content of tag 0x05 is not in DER",
    "an empty OID": "the content of tag 0x06 is not in DER",
    "an OID that ends early": "the content of tag 0x06 is not in DER",
    "an OID that ends in 80": "the content of tag 0x06 is not in DER",
    "an OID that begins with 80": "the content of tag 0x06 is not in DER",
    "an OID with a leading zero": "the content of tag 0x06 is not in DER",
    "too many levels": "more than 24 levels",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_encoding_is_explained(kind: str) -> None:
    """The refusal of a value that is not in DER says what is wrong."""
    with pytest.raises(NotDer) as caught:
        read(REFUSED[kind])
    assert str(caught.value) == TEXTS[kind]


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (b"\x17\x0b5001010000Z", "a time has 12 digits as UTCTime or 14 as GeneralizedTime"),
        (b"\x17\x0f20500101000000Z", "a time has 12 digits as UTCTime or 14 as GeneralizedTime"),
        (b"\x18\x0d500101000000Z", "a time has 12 digits as UTCTime or 14 as GeneralizedTime"),
        (b"\x17\x0d500101000000z", "a time has digits and a Z"),
        (b"\x17\x00", "a time has digits and a Z"),
    ],
)
def test_the_cause_of_a_refused_time_is_kept(encoded: bytes, text: str) -> None:
    """The refusal of a time shows its first 20 bytes, and what is wrong is the cause of the refusal."""
    element = read(encoded)
    with pytest.raises(NotDer) as caught:
        element.time()
    assert str(caught.value) == f"not a time: {element.content!r}"
    assert str(caught.value.__cause__) == text


def test_the_text_of_a_refused_time_is_bounded() -> None:
    """The refusal of a long text that is no time shows its first 20 bytes."""
    with pytest.raises(NotDer) as caught:
        read(encode(der.UTC_TIME, b"1" * 30)).time()
    assert str(caught.value) == f"not a time: {b'1' * 20!r}"


def test_a_value_of_another_type_is_refused() -> None:
    """The refusal of a value of another type says which was expected and which found."""
    for ask in (der.Element.oid, der.Element.integer, der.Element.boolean, der.Element.bits):
        with pytest.raises(NotDer, match=r"^expected tag 0x0[1236], found 0x05$"):
            ask(read(b"\x05\x00"))
    assert read(b"\x03\x03\x00ab").bits() == b"ab"
    with pytest.raises(NotDer, match=r"^a bit string is not a whole number of octets$"):
        read(b"\x03\x02\x01\x02").bits()


def test_the_limit_of_levels() -> None:
    """24 levels are read with the outermost, and bytes after the value are counted in the refusal."""
    deepest = nested(b"\x05\x00", der.MAX_DEPTH - 1)
    assert read(deepest).encoded == deepest
    with pytest.raises(NotDer, match=r"^2 bytes follow the value$"):
        read(b"\x05\x00\x05\x00")


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 65_535, 65_536])
def test_a_length_has_the_fewest_octets(size: int) -> None:
    """A value of any length is encoded with as few octets for the length as DER allows, and read again."""
    encoded = encode(der.OCTET_STRING, bytes(size))
    extra = 0 if size < 128 else (size.bit_length() + 7) // 8
    assert len(encoded) == 2 + extra + size
    assert read(encoded).content == bytes(size)


@pytest.mark.parametrize(
    ("content", "dotted"),
    [
        (b"\x00", "0.0"),
        (b"\x27", "0.39"),
        (b"\x28", "1.0"),
        (b"\x4f", "1.39"),
        (b"\x50", "2.0"),
        (b"\x78", "2.40"),
        (b"\x2a\x86\x48\xce\x3d", "1.2.840.10045"),
    ],
)
def test_an_oid_is_dotted(content: bytes, dotted: str) -> None:
    """The first octets of an object identifier are its first two numbers (X.690 section 8.19.4)."""
    assert read(encode(der.OID, content)).oid() == dotted


def test_no_number_is_too_long_to_be_written() -> None:
    """A number is read if Python can write it. A longer one is refused as no DER, and is no other error."""
    longest, longer = b"\x01" * 1_024, b"\x01" * 1_025
    assert str(read(encode(der.INTEGER, longest)).integer())
    assert read(encode(der.OID, b"\x81" * 1_023 + b"\x01")).oid()
    for tag, ask in ((der.INTEGER, der.Element.integer), (der.OID, der.Element.oid)):
        with pytest.raises(NotDer, match=r"^a number of more than 1024 octets$"):
            ask(read(encode(tag, longer)))


def test_the_tags_that_need_no_check_would_pass_it() -> None:
    """Each tag that is read without the check of tags passes that check."""
    for tag in der._TAGS:
        der._check_tag(tag)
