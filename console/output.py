"""What the console prints: results to standard output, problems and progress to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeRemainingColumn
from rich.text import Text

from console.cloud import Refused, Unreachable

REFUSED = 1
UNREACHABLE = 3

Record = dict[str, Any]
T = TypeVar("T")

# No markup: what is printed may hold a device's own words.
_out = Console(markup=False, highlight=False, soft_wrap=True)
_err = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def line(text: str | Text = "") -> None:
    """Print a line for a person."""
    _out.print(text)


def lines(texts: Iterable[str | Text]) -> None:
    """Print lines for a person."""
    for text in texts:
        line(text)


def note(text: str | Text) -> None:
    """Say something about the result that is not the result."""
    _err.print(text)


def document(value: object) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2))


def result(value: Record, describe: Callable[[Record], Sequence[str | Text]], *, as_json: bool) -> None:
    """Print a result, as JSON or described."""
    if as_json:
        document(value)
        return
    lines(describe(value))


def array(name: str, values: Iterable[Record]) -> None:
    """Print `{name: [values]}` as one JSON document, each value as it comes."""
    print(f'{{"{name}": [', end="")
    separator = "\n"
    for value in values:
        print(separator + json.dumps(value), end="")
        separator = ",\n"
    print("\n]}")


def counted(what: str, values: Iterable[T]) -> Iterator[T]:
    """The values, counted on a terminal's standard error as they come, unless they scroll by there."""
    columns = SpinnerColumn(), "{task.description}", "{task.completed:,}"
    hidden = not _err.is_terminal or _out.is_terminal
    with Progress(*columns, console=_err, transient=True, redirect_stdout=False, disable=hidden) as progress:
        yield from progress.track(values, description=what)


def bar(what: str, values: Iterable[T], total: int) -> Iterator[T]:
    """The values, all `total` of them, with a bar on a terminal's standard error."""
    with progress(what, total) as advance:
        for value in values:
            yield value
            advance(1)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's standard error, for work that comes in lots: call it with a lot's size."""
    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    hidden = not _err.is_terminal
    with Progress(*columns, console=_err, transient=True, redirect_stdout=False, disable=hidden) as shown:
        task = shown.add_task(what, total=total)
        yield lambda lot: shown.advance(task, lot)


def gauge(states: Iterable[tuple[int, str]], total: int | None = None) -> None:
    """Go through states, each so many of `total` and words for it, shown on a terminal's standard error."""
    columns = SpinnerColumn(), BarColumn(), MofNCompleteColumn(), "{task.description}"
    hidden = not _err.is_terminal
    with Progress(*columns, console=_err, transient=True, redirect_stdout=False, disable=hidden) as progress:
        task = progress.add_task("", total=total)
        for done, words in states:
            progress.update(task, completed=done, description=words)


def someone_can_answer() -> bool:
    """Return whether standard input is a terminal, so that a question can be answered."""
    return sys.stdin.isatty()


@contextmanager
def failures(*, as_json: bool) -> Iterator[None]:
    """Turn a refusal or a failure into its message and exit code."""
    try:
        yield
    except Refused as refused:
        _problem(refused.problem, as_json=as_json)
        raise typer.Exit(REFUSED) from refused
    except Unreachable as unreachable:
        _problem({"code": "unreachable", "detail": str(unreachable)}, as_json=as_json)
        raise typer.Exit(UNREACHABLE) from unreachable


def _problem(problem: Record, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(problem, indent=2), file=sys.stderr)
        return
    note(Text(f"{problem.get('code')}: ", style="red") + Text(str(problem.get("detail"))))
    if "requestId" in problem:
        note(f"(request {problem['requestId']})")
