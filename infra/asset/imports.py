"""Finds the modules that a Lambda file imports, by reading source and running nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path


def reached(folder: Path, modules: Iterable[str], *, later: bool = True) -> dict[str, Path]:
    """Return the files in `folder` that an import of `modules` runs, by the names of their modules.

    With `later` it includes what a function imports when it is called. A module that is not in the folder is
    Python's own, or an option that its importer can do without. What a compiled module imports is unknown.
    """
    found: dict[str, Path] = {}
    waiting = [each for module in modules for each in _with_parents(module)]
    while waiting:
        module = waiting.pop()
        file = None if module in found else _file(folder, module)
        if file is None:
            continue
        found[module] = file
        if file.suffix == ".py":
            package = module if file.stem == "__init__" else module.rpartition(".")[0]
            waiting += [
                each for name in _imported(file, package, later=later) for each in _with_parents(name)
            ]
    return found


def _with_parents(module: str) -> list[str]:
    """Return a module and the packages around it, which its import runs too."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


@cache
def _file(folder: Path, module: str) -> Path | None:
    place = folder.joinpath(*module.split("."))
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file():
            return file
    return next(iter(sorted(place.parent.glob(f"{place.name}.*so"))), None)


@cache
def _imported(file: Path, package: str, *, later: bool) -> frozenset[str]:
    """Return the names that the module in `file` imports. A name may be a module's or of something in it."""
    return frozenset(
        name
        for node in _run(ast.parse(file.read_bytes()), later=later)
        for name in (_names(node, package) if isinstance(node, ast.Import | ast.ImportFrom) else ())
    )


def _run(node: ast.AST, *, later: bool) -> Iterator[ast.AST]:
    """Yield the nodes that run when a module is imported, and with `later` those inside functions too."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not later:
        return
    parts: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        parts = node.orelse
    for part in parts:
        yield from _run(part, later=later)


def _names(node: ast.Import | ast.ImportFrom, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    around = package.split(".")
    base = around[: len(around) + 1 - node.level] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    return [module, *(f"{module}.{each.name}" for each in node.names)]
