"""Read and write CSV files in the forms that spreadsheets write.

Excel and LibreOffice separate cells by commas, by semicolons where the comma is the decimal sign, or by tabs.
They write UTF-8 with or without a byte order mark, or UTF-16 with one. Excel names the separator in a first
line such as `sep=;`. Any other form is refused with the line and the reason.

A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return as a formula. Such a
cell is written with a leading `'`, which makes it text, and is read without that `'`.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from console.cloud import Refused

_MANY = 50
"""Problems that a message shows. A wrong column has as many as the file has rows."""

_ENCODINGS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_SEPARATOR_LINE = re.compile(r'"?sep=(.*?)"?[\r\n]*', re.IGNORECASE | re.DOTALL)
# A cell that begins with `'` before a formula is marked too, so that reading returns what was written.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_MARKED = re.compile(r"'+[=+\-@\t\r]")


class Row(NamedTuple):
    """A row of the file: the line on which it begins, its cells by column, and what is wrong with its cells.

    `problem` is empty if the row has one cell for each column.
    """

    line: int
    cells: dict[str, str]
    problem: str


def rows(file: Path, *columns: str) -> Iterator[Row]:
    """Yield each row that has text in it, without white space around the cells, in the order of the file.

    `columns` must be among the file's columns. A column without a name must be empty.
    Raises Refused at the first line that is not CSV, and what opening a file raises.
    """
    line = 0
    with file.open(encoding=_encoding(file), newline="") as lines:
        try:
            read = _read(lines)
            line, names = next(read, (1, []))
            _check_columns(line, names, columns)
            for line, cells in read:
                by_column = dict.fromkeys(names, "") | dict(zip(names, cells, strict=False))
                yield Row(line, by_column, _problem(names, cells))
        except UnicodeDecodeError as error:
            problem = f"line {line + 1} or a later one is not {error.encoding.upper()}, {error.reason}"
            raise invalid(file, [f"{problem}: save the file as CSV in UTF-8"]) from error
        except ValueError as error:
            raise invalid(file, [str(error)]) from error


def checked_rows(file: Path, *columns: str) -> Iterator[Row]:
    """Yield the rows of a file in which `rows` found no problem.

    Raises Refused if the file has changed since and has a problem now.
    """
    found = rows(file, *columns)
    while True:
        try:
            row = next(found, None)
        except Refused as error:
            raise changed(file, error.problem["problems"]) from error
        if row is None:
            return
        if row.problem:
            raise changed(file, [f"line {row.line}: {row.problem}"])
        yield row


def invalid(file: Path, problems: list[str]) -> Refused:
    """Return the refusal of a file that nothing was done with."""
    return _refused(f"{file}: nothing was done", problems)


def changed(file: Path, problems: list[str]) -> Refused:
    """Return the refusal of a file that had no problem when it was checked."""
    return _refused(f"{file} has changed since it was checked; the rows before this one were used", problems)


def _refused(detail: str, problems: list[str]) -> Refused:
    shown = problems[:_MANY]
    if len(problems) > _MANY:
        shown.append(f"and {len(problems) - _MANY:,} more")
    return Refused({"code": "manifest-invalid", "detail": "\n".join([detail, *shown]), "problems": problems})


def written(cells: Iterable[str]) -> list[str]:
    """Return cells to write, of which no spreadsheet runs one as a formula."""
    return [f"'{cell}" if _FORMULA.match(cell) else cell for cell in cells]


def _encoding(file: Path) -> str:
    with file.open("rb") as start:
        return _ENCODINGS.get(start.read(2), "utf-8-sig")


def _read(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that have text, the header first, each with the line on which it begins.

    Raises ValueError, which names the line.
    """
    before, first = 0, next(lines, "")
    if named := _SEPARATOR_LINE.fullmatch(first):
        before, first, separator = 1, next(lines, ""), _named_separator(named[1])
    else:
        separator = _separator(first)
    reader = csv.reader(chain([first], lines), delimiter=separator, skipinitialspace=True, strict=True)
    while True:
        line = before + reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(f"line {line}: {_reason(error)}") from error
        if any("\0" in cell for cell in cells):
            raise ValueError(f"line {line}: there is a NUL character: save the file as CSV in UTF-8")
        if any(cells):
            yield line, [cell[1:] if _MARKED.match(cell) else cell for cell in cells]


def _named_separator(text: str) -> str:
    if text not in _SEPARATORS:
        raise ValueError(f"line 1: {text[:80]!a} can't be the separator: use a comma, a semicolon or a tab")
    return text


def _separator(header: str) -> str:
    """Return the separator of the first line, which names the columns."""
    found = [each for each in _SEPARATORS if each in header]
    if len(found) > 1:
        names = " and ".join(_SEPARATORS[each] for each in found)
        raise ValueError(f"line 1: {names} can't both separate the columns")
    return found[0] if found else ","


def _reason(error: csv.Error) -> str:
    # csv reports the end of the file, which says nothing about the place of the quote.
    return "a quote does not close" if str(error) == "unexpected end of data" else str(error)


def _check_columns(line: int, names: Sequence[str], columns: Sequence[str]) -> None:
    """Raise ValueError unless the columns are there, each once. `line` is the one that names them."""
    if not names:
        raise ValueError("it is empty")
    if not set(columns) <= set(names):
        wanted = " and ".join(columns)
        raise ValueError(f"line {line}: the first line must name the columns, {wanted} among them")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(
            f"line {line}: column {', '.join(ascii(name[:80]) for name in twice)} is there twice"
        )


def _problem(names: Sequence[str], cells: Sequence[str]) -> str:
    """Return what is wrong with the cells of a row, or an empty text."""
    if len(cells) < len(names):
        missing = names[len(cells)]
        return f"there is no cell for column {missing[:80]!a}" if missing else "a cell is missing at the end"
    for number, cell in enumerate(cells, 1):
        if number > len(names):
            return f"cell {number} is under no column; the first line has {len(names)}"
        if cell and not names[number - 1]:
            return f"cell {number} is under a column without a name"
    return ""
