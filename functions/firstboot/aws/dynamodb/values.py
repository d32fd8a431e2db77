"""Conversion of Python values to DynamoDB's attribute values and back.

boto3 has the same conversion, but importing boto3 costs a cold start 40 ms. Numbers are whole and sets hold
strings, because rows hold no others. A property test compares the conversion with boto3's.

DynamoDB API reference, AttributeValue.
"""

from __future__ import annotations

from typing import Any

Item = dict[str, Any]
"""Attributes in DynamoDB's own form, `{"S": …}`."""


def encode(value: object) -> Item:
    """Return a value in DynamoDB's form.

    Raises TypeError for a type that no row holds.
    """
    match value:
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case set() | frozenset():
            return {"SS": sorted(value)}
        case dict():
            return {"M": encoded(value)}
        case _:
            raise TypeError(f"no row holds a {type(value).__name__}")


def encoded(values: dict[str, Any]) -> Item:
    """Return named values in DynamoDB's form."""
    return {name: encode(value) for name, value in values.items()}


def decode(value: Item) -> Any:  # noqa: ANN401 - any value that a row holds
    """Return the value that DynamoDB's form stands for.

    Raises TypeError for a type that no row holds.
    """
    ((kind, held),) = value.items()
    match kind:
        case "S" | "BOOL" | "B":
            return held
        case "N":
            return int(held)
        case "SS":
            return set(held)
        case "M":
            return {name: decode(each) for name, each in held.items()}
        case _:
            raise TypeError(f"no row holds a {kind}")


def decoded(item: Item, known: frozenset[str]) -> dict[str, Any]:
    """Return those values whose names are in `known`.

    A newer version may have added attributes of types that this version can't read, so others are skipped.
    """
    return {name: decode(value) for name, value in item.items() if name in known}
