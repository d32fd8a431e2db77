"""The product's code uses the terms of docs/glossary.md, and not the words that they replaced."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"
MODULES = sorted(FUNCTIONS.rglob("*.py"))
GLOSSARY = (ROOT / "docs/glossary.md").read_text()

REPLACED = {
    "adopt": "device import",
    "adopted": "device import",
    "adoption": "device import",
    "newcomer": "JITR",
    "newcomers": "JITR",
    "pace": "rate limiter",
    "paced": "rate limiter",
    "pacing": "rate limiter",
    "registration": "reconcile",
    "registrations": "reconcile",
    "registry": "device record",
    "turn": "slot",
    "turns": "slot",
}
"""Words that no identifier may have, each with the glossary's term for its old meaning."""

ABOUT_THE_AWS_IOT_REGISTRY = {"_registry_group"}
"""Identifiers in which "registry" means AWS IoT's."""


def words(identifier: str) -> list[str]:
    """Return the lower-case words of an identifier in snake_case or CamelCase."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Yield every name that the module defines or uses."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.alias(name=name, asname=alias):
                yield from (name, alias or "")
            case ast.keyword(arg=str(name)):
                yield name


def replaced(source: str) -> set[str]:
    """Return the identifiers of a module that have a replaced word."""
    found = set(identifiers(ast.parse(source))) - ABOUT_THE_AWS_IOT_REGISTRY
    return {identifier for identifier in found if REPLACED.keys() & set(words(identifier))}


def contexts_called_moment(source: str) -> list[str]:
    """Return the annotations of parameters that are named `moment`, except `datetime`."""
    arguments = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.arg)]
    annotations = [
        ast.unparse(each.annotation) for each in arguments if each.arg == "moment" and each.annotation
    ]
    return [each for each in annotations if each != "datetime"]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_no_identifier_has_a_replaced_word(module: Path) -> None:
    """No identifier has a replaced word, and no module's name has one."""
    assert replaced(module.read_text()) == set()
    assert not REPLACED.keys() & set(words(module.stem))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_a_moment_is_a_time(module: Path) -> None:
    """No parameter named `moment` is a request context, which is called `context`."""
    assert contexts_called_moment(module.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "def adopt(): ...",
        "class PaceKeeper: ...",
        "import firstboot.registry",
        "from x import y as newcomers",
        "PACE_KEY = 1",
        "take(turn=1)",
        "def needs(self, registry): ...",
        "devices.registry",
    ],
)
def test_a_replaced_word_is_found(source: str) -> None:
    """The check finds a replaced word in every kind of identifier."""
    assert replaced(source)


def test_a_context_called_moment_is_found() -> None:
    """The check finds a parameter that is named `moment` and is not annotated as a time."""
    assert contexts_called_moment("def decide(moment: RequestContext): ...") == ["RequestContext"]


def test_the_terms_are_in_order() -> None:
    """The glossary's terms are in alphabetical order, and each is there once."""
    terms = re.findall(r"^- \*\*(.+?)\*\*:", GLOSSARY, re.MULTILINE)
    assert terms == sorted(set(terms), key=str.lower)


def test_every_replacement_is_a_term() -> None:
    """Every term that the check demands is in the glossary."""
    terms = {term.lower() for term in re.findall(r"^- \*\*(.+?)\*\*:", GLOSSARY, re.MULTILINE)}
    assert {term.lower() for term in REPLACED.values()} <= terms
