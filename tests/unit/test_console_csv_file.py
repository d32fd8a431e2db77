"""The CSV reader accepts what spreadsheets write, and names what it refuses."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.cloud import Refused
from console.csv_file import checked_rows, rows, written
from console.production import Manifest

HEADER, ROW = ["deviceId", "site"], ["gw-1", "München, Süd"]


def read(folder: Path, content: bytes) -> list[list[str]]:
    """Return the cells of each row of a file with this content."""
    file = folder / "file.csv"
    file.write_bytes(content)
    return [list(row.cells.values()) for row in rows(file, "deviceId") if not row.problem]


def problem(folder: Path, content: bytes) -> str:
    """Return the first problem of a file with this content."""
    file = folder / "file.csv"
    file.write_bytes(content)
    try:
        found = [f"line {row.line}: {row.problem}" for row in rows(file, "deviceId") if row.problem]
    except Refused as refused:
        found = refused.problem["problems"]
    return str(found[0])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "sep={}", '"sep={}"', "SEP={}"])
def test_what_spreadsheets_write_is_read(
    tmp_path: Path, encoding: str, separator: str, end: str, first: str
) -> None:
    """Each encoding, separator and line end that Excel and LibreOffice write gives the same cells."""
    text = io.StringIO(newline="")
    if first:
        text.write(first.format(separator) + end)
    csv.writer(text, delimiter=separator, lineterminator=end).writerows([HEADER, ROW])
    assert read(tmp_path, text.getvalue().encode(encoding)) == [ROW]


def test_space_around_cells_is_no_part_of_them(tmp_path: Path) -> None:
    """Spaces after commas, around cells and around names of columns are trimmed."""
    content = 'deviceId , site\n gw-1, "berlin, north"\ngw-2 ,\u00a0paris \n'.encode()
    assert read(tmp_path, content) == [["gw-1", "berlin, north"], ["gw-2", "paris"]]


def test_lines_without_text_are_no_rows(tmp_path: Path) -> None:
    """Empty lines, and lines of separators as a spreadsheet writes for emptied rows, are skipped."""
    assert read(tmp_path, b"deviceId,site\n\n,\ngw-1,\n   \n") == [["gw-1", ""]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is empty"),
        (b"deviceId,site\ngw-1,a,b\n", "line 2: cell 3 is under no column; the first line has 2"),
        (b"deviceId,site\ngw-1,a,\n", "line 2: cell 3 is under no column; the first line has 2"),
        (b"deviceId,site\ngw-1\n", "line 2: there is no cell for column 'site'"),
        (b"deviceId,site,\ngw-1,a\n", "line 2: a cell is missing at the end"),
        (b"deviceId,\ngw-1,a\n", "line 2: cell 2 is under a column without a name"),
        (b"deviceId, deviceId\n", "line 1: column 'deviceId' is there twice"),
        (b"deviceId,a,b,a,b\n", "line 1: column 'a', 'b' is there twice"),
        (b"deviceId;site,zone\n", "line 1: comma and semicolon can't both separate the columns"),
        (b"sep=|\ndeviceId|site\n", "line 1: '|' can't be the separator: use a comma, a semicolon or a tab"),
        (b"sep=;\nsite\n", "line 2: the first line must name the columns, deviceId among them"),
        (b'deviceId\ngw-1\n"gw-2\ngw-3\n', "line 3: a quote does not close"),
        (b'deviceId\n"gw-1"x\n', "line 2: ',' expected after '\"'"),
        (b"deviceId,site\ngw-1,a\rb\n", "line 3: there is no cell for column 'site'"),
        (b"deviceId\ngw-1\x00\n", "line 2: there is a NUL character: save the file as CSV in UTF-8"),
        ("deviceId\ngw-1\n".encode("utf-16-le"), "line 1: there is a NUL character: save the file"),
        ("deviceId\ngw-1\n".encode("utf-32"), "line 1: there is a NUL character: save the file"),
        ("deviceId,site\ngw-1,Köln\n".encode("cp1252"), "line 1 or a later one is not UTF-8, invalid"),
        ("deviceId\ngw-1\n".encode("utf-16")[:-1], "line 2 or a later one is not UTF-16"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    """A mistake is reported with its line, and with the column or the number of the cell."""
    assert problem(tmp_path, content).startswith(expected)


def test_a_row_is_named_by_the_line_on_which_it_begins(tmp_path: Path) -> None:
    """Cells of several lines and the line of the separator count."""
    content = b'sep=,\ndeviceId,site\n"gw-1","a\nb\r\nc"\n\ngw-2\n'
    assert problem(tmp_path, content) == "line 7: there is no cell for column 'site'"


@pytest.mark.parametrize("content", ["deviceId\ngw-1,x\n", "deviceId,deviceId\n"])
def test_a_file_that_changed_is_not_called_unused(tmp_path: Path, content: str) -> None:
    """The refusal of a file that changed after its check says that rows of it were used."""
    file = tmp_path / "file.csv"
    file.write_text(content)
    with pytest.raises(Refused, match="has changed since it was checked"):
        list(checked_rows(file, "deviceId"))


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1"])
def test_no_written_cell_is_a_formula(cell: str) -> None:
    """A cell that a spreadsheet would run as a formula is written as text."""
    assert written([cell, "gw-1", "'tis"]) == [f"'{cell}", "gw-1", "'tis"]


@given(st.lists(st.text(st.sampled_from("'=+-@ab,;\"\n")).map(str.strip).filter(bool), min_size=1))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, cells: list[str]) -> None:
    """The reader returns the cells that the writer of manifests got."""
    file = tmp_path_factory.getbasetemp() / "written.csv"
    with file.open("w", newline="") as out:
        manifest = Manifest(out)
        manifest.add(["deviceId", *map(str, range(1, len(cells)))])
        manifest.add(cells)
    assert [list(row.cells.values()) for row in rows(file, "deviceId")] == [cells]
