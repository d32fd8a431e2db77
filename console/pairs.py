"""Read the `KEY=VALUE` arguments of a command. No input or output."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import typer

from console import attributes
from console.attributes import Value
from console.cloud import Refused


def split(texts: list[str], hint: str) -> dict[str, str]:
    """Return the pairs; the last one of a key counts.

    Raises typer.BadParameter, which names the argument by `hint`.
    """
    try:
        return dict(map(attributes.pair, texts))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from error


def typed(texts: Mapping[str, str], parse: Callable[[str, str], Value]) -> dict[str, Value]:
    """Return the pairs with the values that `parse` makes of each key and text.

    Raises Refused with every problem found.
    """
    found: dict[str, Value] = {}
    problems: list[str] = []
    for name, text in texts.items():
        try:
            found[name] = parse(name, text)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise Refused({"code": "attributes-invalid", "detail": "\n".join(problems), "problems": problems})
    return found
