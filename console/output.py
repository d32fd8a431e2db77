"""Print results to standard output, and problems and progress to standard error.

Devices choose parts of what is printed. So text for people passes through `visible`, and JSON is ASCII: no
character of a device reaches the terminal as a command.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeRemainingColumn
from rich.text import Text

from console.cloud import Refused, Unreachable
from console.diagnosis import Level, Line
from console.visible import visible

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red", Level.UNKNOWN: "cyan"}
_WIDTH = max(map(len, Level)) + 1

REFUSED = 1
UNREACHABLE = 3

Record = dict[str, Any]
T = TypeVar("T")


class Screen(Console):
    """A stream for people. After the reader has closed it, as `head` does, it prints nothing more.

    The command goes on, so its exit code still says what was done. A listing stops, because printing is all
    that it does.
    """

    def on_broken_pipe(self) -> None:
        """Send the rest of the output to nowhere, instead of exiting as the base class does."""
        self.quiet = True
        # Python flushes the stream once more when it exits: that must not fail either.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)


# Neither markup nor codes of emojis, because the text may contain what a device says of itself.
_out = Screen(markup=False, emoji=False, highlight=False, soft_wrap=True)
_err = Screen(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
_KEPT = "\n\t"
"""Characters that the console's own texts contain. `describe` keeps them out of what others have chosen."""


def width() -> int | None:
    """Return how many columns a line may have, or None if standard output is not a terminal."""
    return _out.width if _out.is_terminal else None


def line(text: str | Text = "") -> None:
    """Print a line of a result."""
    _out.print(_shown(text))


def lines(texts: Iterable[str | Text]) -> None:
    """Print lines of a result, each as soon as it is there, until the reader closes standard output."""
    for text in texts:
        line(text)
        if _out.quiet:
            return


def judged(line: Line) -> Text:
    """Return a line of the doctor's, which begins with its level."""
    return Text(f"{line.level:<{_WIDTH}}", style=_STYLES[line.level]) + Text(f"{line.what}: {line.detail}")


def warnings(answer: Record) -> list[Text]:
    """Return the warnings in an answer, each as a line."""
    # The stack may still have a version that gives no warnings.
    return [Text(f"warning: {line}", style="yellow") for line in answer.get("warnings", ())]


def note(text: str | Text) -> None:
    """Print a line about the result to standard error."""
    _err.print(_shown(text))


def _shown(text: str | Text) -> str | Text:
    """Return the text with invisible characters written out. A Text that had some is in one style then."""
    if isinstance(text, str):
        return visible(text, _KEPT)
    shown = visible(text.plain, _KEPT)
    return text if shown == text.plain else Text(shown, style=text.style)


def document(value: object) -> None:
    """Print one JSON document."""
    _write(json.dumps(value, indent=2) + "\n")


def result(value: Record, describe: Callable[[Record], Sequence[str | Text]], *, as_json: bool) -> None:
    """Print a result: as JSON, or as the lines that `describe` makes of it."""
    if as_json:
        document(value)
        return
    lines(describe(value))


def array(name: str, values: Iterable[Record]) -> None:
    """Print `{name: [values]}` as one JSON document, each value as soon as it is there."""
    _write(f'{{"{name}": [')
    separator = "\n"
    for value in values:
        _write(separator + json.dumps(value))
        separator = ",\n"
        if _out.quiet:
            return
    _write("\n]}\n")


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        _out.on_broken_pipe()


def flush() -> None:
    """Write out what is still buffered for standard output."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _out.on_broken_pipe()


def counted(what: str, values: Iterable[T]) -> Iterator[T]:
    """Yield the values, and show on a terminal's standard error how many there were.

    The count is hidden if standard output is the same terminal, where the values scroll by.
    """
    columns = SpinnerColumn(), "{task.description}", "{task.completed:,}"
    hidden = not _err.is_terminal or _out.is_terminal
    with Progress(*columns, console=_err, transient=True, redirect_stdout=False, disable=hidden) as progress:
        yield from progress.track(values, description=what)


def bar(what: str, values: Iterable[T], total: int) -> Iterator[T]:
    """Yield the values, `total` of them, with a progress bar on a terminal's standard error."""
    with progress(what, total) as advance:
        for value in values:
            yield value
            advance(1)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal's standard error. Call the result with each number of items done."""
    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    hidden = not _err.is_terminal
    with Progress(*columns, console=_err, transient=True, redirect_stdout=False, disable=hidden) as shown:
        task = shown.add_task(what, total=total)
        yield lambda items: shown.advance(task, items)


def gauge(states: Iterable[tuple[int, str]], total: int | None = None) -> None:
    """Consume `states`, and show each on a terminal's standard error.

    A state is the number of items done, of `total`, and a description of it.
    """
    columns = SpinnerColumn(), BarColumn(), MofNCompleteColumn(), "{task.description}"
    hidden = not _err.is_terminal
    with Progress(*columns, console=_err, transient=True, redirect_stdout=False, disable=hidden) as progress:
        task = progress.add_task("", total=total)
        for done, description in states:
            progress.update(task, completed=done, description=description)


def can_ask() -> bool:
    """Return whether standard input is a terminal, so that a person can answer a question."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask for a confirmation, unless `yes` is true or standard input is not a terminal.

    Raises typer.Abort if the answer is no.
    """
    if not yes and can_ask():
        typer.confirm(question, abort=True, err=True)


@contextmanager
def failures(*, as_json: bool) -> Iterator[None]:
    """Print a refusal, a missing answer or an unusable file, and exit with its code."""
    try:
        yield
    except Refused as refused:
        _problem(refused.problem, as_json=as_json)
        raise typer.Exit(REFUSED) from refused
    except Unreachable as unreachable:
        _problem({"code": unreachable.code, "detail": str(unreachable)}, as_json=as_json)
        raise typer.Exit(UNREACHABLE) from unreachable
    except OSError as error:
        _problem({"code": "file-unusable", "detail": _named(error)}, as_json=as_json)
        raise typer.Exit(REFUSED) from error


def _named(error: OSError) -> str:
    """Return what is wrong with which file."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _problem(problem: Record, *, as_json: bool) -> None:
    if as_json:
        note(json.dumps(problem, indent=2))
        return
    note(Text(f"{problem.get('code')}: ", style="red") + Text(str(problem.get("detail"))))
    if "requestId" in problem:
        note(f"(request {problem['requestId']})")
