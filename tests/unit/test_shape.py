"""Modules and functions are short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("functions", "infra", "device", "console", "local", "audit", "verify", "bench", "docs")
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def _functions(module: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_or_function_is_long(module: Path) -> None:
    """A module has at most 300 lines, and a function at most 50, docstring included."""
    assert len(module.read_text().splitlines()) <= 300
    assert [name for name, lines in _functions(module) if lines > 50] == []


def test_most_functions_are_short() -> None:
    """At least half of the functions that ship have 8 lines or fewer."""
    shipped = [path for path in MODULES if path.is_relative_to(ROOT / "functions")]
    assert median(lines for path in shipped for _, lines in _functions(path)) <= 8
