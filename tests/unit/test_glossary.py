"""The product's code uses the words of docs/glossary.md, and not those that they replaced."""

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
"""Words that no identifier may have, and the glossary's term for what they meant."""

ABOUT_THE_AWS_IOT_REGISTRY = {"_registry_group"}
"""Identifiers with "registry" that mean AWS IoT's."""


def words(identifier: str) -> list[str]:
    """The lower-case words of an identifier in snake_case or CamelCase."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)]


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that the module defines or uses."""
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
    """The identifiers of a module that have one of the replaced words."""
    found = set(identifiers(ast.parse(source))) - ABOUT_THE_AWS_IOT_REGISTRY
    return {identifier for identifier in found if REPLACED.keys() & set(words(identifier))}


def contexts_called_moment(source: str) -> list[str]:
    """The annotations of parameters named `moment`, except `datetime`."""
    arguments = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.arg)]
    annotations = [
        ast.unparse(each.annotation) for each in arguments if each.arg == "moment" and each.annotation
    ]
    return [each for each in annotations if each != "datetime"]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_no_identifier_has_a_replaced_word(module: Path) -> None:
    """Neither a name in the module nor the module's own name."""
    assert replaced(module.read_text()) == set()
    assert not REPLACED.keys() & set(words(module.stem))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_a_moment_is_a_time(module: Path) -> None:
    """A request context is called `context`."""
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
    """Wherever a module has a name."""
    assert replaced(source)


def test_a_context_called_moment_is_found() -> None:
    """By the parameter's annotation."""
    assert contexts_called_moment("def decide(moment: RequestContext): ...") == ["RequestContext"]


def test_the_terms_are_in_order() -> None:
    """A reader finds a term by the alphabet, and each once."""
    terms = re.findall(r"^- \*\*(.+?)\*\*:", GLOSSARY, re.MULTILINE)
    assert terms == sorted(set(terms), key=str.lower)


def test_every_replacement_is_a_term() -> None:
    """The glossary explains the words that this test demands."""
    terms = {term.lower() for term in re.findall(r"^- \*\*(.+?)\*\*:", GLOSSARY, re.MULTILINE)}
    assert {term.lower() for term in REPLACED.values()} <= terms
