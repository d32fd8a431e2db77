"""Documents, docstrings, comments and messages are in plain words.

A word list cannot judge style. It keeps out two habits that made readers decode this project's text: pronouns
that hide who or what is meant, and docstrings that are a clause without a verb of their own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ITSELF = Path(__file__)

SUFFIXES = {".cedar", ".cedarschema", ".j2", ".jinja", ".json", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}
FOLDERS = (
    "audit",
    "bench",
    "console",
    "device",
    "docs",
    "examples",
    "fleet",
    "functions",
    "infra",
    "local",
    "tests",
    "verify",
    ".github",
)

HIDDEN_SUBJECTS = re.compile(
    r"(?<![a-z])(who(so|m)?ever|what(so)?ever|whichever|no one"
    r"|(any|every|some)one|(any|every|no|some)body)(?![a-z])",
    re.IGNORECASE,
)
"""Say who or what: "the caller", "an attacker", "each device", "no client", "any value"."""

CLAUSES = {
    *(
        "And",
        "Another",
        "But",
        "Else",
        "How",
        "It",
        "Its",
        "Neither",
        "None",
        "Nor",
        "Not",
        "Or",
        "So",
        "That",
    ),
    *("Their", "Them", "These", "They", "This", "Those", "What", "Where", "Whether", "Which", "Who", "Whose"),
}
"""First words of a docstring that is a clause, or that needs its function's name to be a sentence."""


def written() -> Iterator[Path]:
    """Yield every text file of the project."""
    yield from (path for path in ROOT.iterdir() if path.suffix in SUFFIXES or path.name == "Makefile")
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in SUFFIXES and not {"__pycache__", "node_modules", "cdk.out"} & set(path.parts):
                yield path


def hidden_subjects(text: str) -> list[str]:
    """Return each line that has a word of `HIDDEN_SUBJECTS`, with its number."""
    lines = enumerate(text.splitlines(), 1)
    return [f"{number}: {line.strip()}" for number, line in lines if HIDDEN_SUBJECTS.search(line)]


def clauses(source: str) -> list[str]:
    """Return the first line of each docstring that begins with one of `CLAUSES`."""
    documented = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    docstrings = [(getattr(node, "name", "module"), ast.get_docstring(node) or "-") for node in nodes]
    return [f"{name}: {text.splitlines()[0]}" for name, text in docstrings if text.split()[0] in CLAUSES]


FILES = sorted(path for path in written() if path != ITSELF)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_text_names_who_or_what_it_means(path: Path) -> None:
    """No text has a pronoun that hides its subject."""
    assert hidden_subjects(path.read_text()) == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.suffix == ".py"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_docstring_is_a_sentence(path: Path) -> None:
    """No docstring begins with a word that makes it a clause or depends on the function's name."""
    assert clauses(path.read_text()) == []


@pytest.mark.parametrize("word", ["Whoever", "whatever", "nobody", "no one", "anyone", "whichever"])
def test_the_check_finds_a_hidden_subject(word: str) -> None:
    """The check reports the line of each listed word."""
    assert hidden_subjects(f"Fine.\nFor {word} here.\n") == [f"2: For {word} here."]


@pytest.mark.parametrize("docstring", ["What it is.", "Whether it is.", "Neither this nor that."])
def test_the_check_finds_a_clause(docstring: str) -> None:
    """The check reports the docstring of a module, a function and a class."""
    assert clauses(f'"""{docstring}"""\n') == [f"module: {docstring}"]
    assert clauses(f'def f():\n    """{docstring}"""\n') == [f"f: {docstring}"]
    assert clauses(f'class C:\n    """{docstring}"""\n') == [f"C: {docstring}"]
