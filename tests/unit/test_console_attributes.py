"""Attributes as text, on the console's command line and in its CSV files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import attributes
from console.attributes import Attributes, Value
from tests.unit import fleet_folders

SCHEMA = fleet_folders.SCHEMA.replace(
    "quarantined: Bool", 'quarantined: Bool, slots?: Long, site?: String, "a b"?: String, tags?: Set<String>'
)


@pytest.fixture(scope="module")
def known() -> Attributes:
    """Return the attributes of a schema with one of each type."""
    return Attributes(fleet_folders.fleet(schema=SCHEMA))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("site=berlin", ("site", "berlin")), ("site=", ("site", "")), ("site=a=b", ("site", "a=b"))],
)
def test_a_pair_ends_its_key_at_the_first_equals_sign(text: str, expected: tuple[str, str]) -> None:
    """The value of a pair may contain `=`, and may be empty."""
    assert attributes.pair(text) == expected


@pytest.mark.parametrize("text", ["site", "=berlin", ""])
def test_a_text_without_key_or_equals_sign_is_refused(text: str) -> None:
    """A pair has a key and `=`."""
    with pytest.raises(ValueError, match="key=value"):
        attributes.pair(text)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("quarantined", "true", True),
        ("quarantined", "false", False),
        ("site", "true", "true"),
        ("slots", "42", 42),
        ("slots", "-7", -7),
        ("slots", str(2**63 - 1), 2**63 - 1),
        ("site", "42", "42"),
        ("a b", "x", "x"),
    ],
)
def test_a_value_has_the_type_of_the_schema(known: Attributes, name: str, text: str, expected: Value) -> None:
    """The schema decides between a number and its digits, and between a Boolean and its name."""
    found = known.parse(name, text)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("quarantined", "True", "attribute quarantined must be true or false, not 'True'"),
        *[
            ("slots", text, f"attribute slots must be an integer of 64 bits, not {text[:80]!a}")
            for text in ("0042", "1e3", "٤٢", "9" * 30, str(2**63), "")
        ],
    ],
)
def test_a_value_of_another_type_is_refused(known: Attributes, name: str, text: str, message: str) -> None:
    """The refusal names the attribute, its type and the value."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        known.parse(name, text)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["sight", "deviceId", "claims", "tags", "firmware", "", "x" * 99])
def test_an_attribute_that_no_operator_can_set_is_refused(known: Attributes, name: str) -> None:
    """The refusal lists the attributes that can be set, and their types."""
    assert not known.can_set(name)
    with pytest.raises(ValueError, match="is no attribute that can be set") as caught:
        known.parse(name, "x")
    long = "an integer of 64 bits"
    words = f"a b (text), floor ({long}), quarantined (true or false), site (text), slots ({long})"
    assert str(caught.value).endswith(f"the schema has {words}")


@given(st.text(min_size=1))
def test_any_text_can_be_a_string(known: Attributes, text: str) -> None:
    """An attribute of text accepts every text."""
    assert known.parse("site", text) == text


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_number_of_64_bits_can_be_an_integer(known: Attributes, number: int) -> None:
    """An attribute of integers accepts the decimal digits of every 64-bit integer."""
    assert known.parse("slots", str(number)) == number
