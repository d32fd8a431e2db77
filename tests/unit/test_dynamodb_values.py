"""Test the form of values in DynamoDB's rows against boto3's own serializer and deserializer."""

from __future__ import annotations

from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from firstboot.aws.dynamodb.values import decode, encode

WHOLE = st.integers(-(10**37), 10**37)
LEAVES = st.booleans() | st.text() | WHOLE | st.binary() | st.sets(st.text(), min_size=1)
VALUES = st.recursive(LEAVES, lambda inner: st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES)
def test_a_value_comes_back(value: Any) -> None:
    """A value that is written and read again has the same value and type."""
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value)


@given(VALUES)
def test_boto3_reads_and_writes_the_same(value: Any) -> None:
    """boto3 reads the values that we write, and we read the values that boto3 writes."""
    reader: Any = TypeDeserializer()
    writer: Any = TypeSerializer()
    assert reader.deserialize(encode(value)) == value
    assert decode(writer.serialize(value)) == value


@pytest.mark.parametrize("value", [None, 1.5, [1], object()])
def test_a_type_that_no_row_has_is_a_fault(value: object) -> None:
    """A value whose type no row has raises TypeError when it is written."""
    with pytest.raises(TypeError, match="no row holds"):
        encode(value)


def test_an_unknown_form_is_a_fault() -> None:
    """A DynamoDB type that we never write raises TypeError when it is read."""
    with pytest.raises(TypeError, match="no row holds"):
        decode({"L": []})
