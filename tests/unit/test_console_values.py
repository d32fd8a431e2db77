"""`key=value` on the console's command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import values


@pytest.mark.parametrize(
    ("text", "expected"),
    [("site=berlin", ("site", "berlin")), ("site=", ("site", "")), ("site=a=b", ("site", "a=b"))],
)
def test_a_pair_ends_its_key_at_the_first_equals_sign(text: str, expected: tuple[str, str]) -> None:
    """A value may hold `=`, and may be empty."""
    assert values.pair(text) == expected


@pytest.mark.parametrize("text", ["site", "=berlin", ""])
def test_what_is_no_pair_is_refused(text: str) -> None:
    """There is no pair without a key and `=`."""
    with pytest.raises(ValueError, match="key=value"):
        values.pair(text)


@pytest.mark.parametrize(
    ("text", "accepted", "expected"),
    [
        ("true", bool, True),
        ("false", bool, False),
        ("true", str, "true"),
        ("42", int, 42),
        ("-7", int, -7),
        ("42", str, "42"),
        ("0042", int, "0042"),
        ("1e3", int, "1e3"),
        ("٤٢", int, "٤٢"),
        ("9" * 30, int, "9" * 30),
        ("True", bool, "True"),
        ("", str, None),
    ],
)
def test_a_value_has_the_type_that_fits(text: str, accepted: type, expected: values.Value | None) -> None:
    """The schema decides between a number and its digits; an empty text removes."""
    found = values.typed({"key": text}, lambda _, value: type(value) is accepted)["key"]
    assert (found, type(found)) == (expected, type(expected))


@given(st.text(min_size=1))
def test_any_text_can_be_a_string(text: str) -> None:
    """Where the schema wants a string, the text itself is sent."""
    assert values.typed({"key": text}, lambda _, value: isinstance(value, str)) == {"key": text}


@given(st.integers(-(2**62), 2**62))
def test_any_number_can_be_a_number(number: int) -> None:
    """Where the schema wants a number, decimal digits are one."""
    assert values.typed({"key": str(number)}, lambda _, value: type(value) is int) == {"key": number}
