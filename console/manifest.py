"""Read manifests: CSV files with a row for each device.

Rows are read one at a time, because there may be many.
"""

from __future__ import annotations

import csv
from collections.abc import Container, Iterator, Sequence
from itertools import islice
from pathlib import Path

from console import bootstrap
from console.attributes import Attributes, Value
from console.cloud import Refused
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.names import device_id
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.limits import check_attributes

DEVICE_ID = "deviceId"
# The other columns of a factory's manifest describe certificates, not devices.
_NO_ATTRIBUTES = set(bootstrap.COLUMNS)
_MANY = 50
"""Problems that a message shows. A wrong column has as many as the file has rows."""

Device = tuple[str, dict[str, Value]]


def rows(file: Path, *columns: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row, and the line on which it begins. `columns` must be among the file's columns.

    Cells under no column are joined under the name "".
    Raises Refused at the first line that is not CSV in UTF-8, and what opening a file raises.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, restkey="", restval="", strict=True)
        try:
            _check_columns(file, reader.fieldnames or (), columns)
            for row in reader:
                within = sum(value.count("\n") for value in row.values() if isinstance(value, str))
                yield reader.line_num - within, row | {"": "".join(row.get("", ""))}
        except UnicodeDecodeError as error:
            problem = f"line {reader.line_num + 1} or a later one is not UTF-8: {error.reason}"
            raise invalid(file, [problem]) from error
        except csv.Error as error:
            raise invalid(file, [f"line {reader.line_num + 1}: {error}"]) from error


def _check_columns(file: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    if not set(columns) <= set(found):
        names = " and ".join(columns)
        raise invalid(file, [f"line 1: the first line must name the columns, {names} among them"])
    twice = sorted({name for name in found if name and found.count(name) > 1})
    if twice:
        raise invalid(file, [f"line 1: column {name[:80]!a} is there twice" for name in twice])


def invalid(file: Path, problems: list[str]) -> Refused:
    """Return the refusal of a manifest that nothing was done with."""
    shown = problems[:_MANY]
    if len(problems) > _MANY:
        shown.append(f"and {len(problems) - _MANY:,} more")
    detail = "\n".join([f"{file}: nothing was done", *shown])
    return Refused({"code": "manifest-invalid", "detail": detail, "problems": problems})


def check(file: Path) -> int:
    """Return how many devices the manifest names.

    Raises Refused with every problem found.
    """
    problems: list[str] = []
    lines: dict[str, int] = {}
    for line, row in rows(file, DEVICE_ID):
        name = row[DEVICE_ID]
        try:
            device_id(name)
        except DeviceIdInvalid:
            problems.append(f"line {line}: {name[:80]!a} is no device id")
        if (first := lines.setdefault(name, line)) != line:
            problems.append(f"line {line}: device {name[:80]!a} is on line {first} already")
    if not lines:
        problems.append("there is no row in it")
    if problems:
        raise invalid(file, problems)
    return len(lines)


def check_values(file: Path, attributes: Attributes) -> None:
    """Check the columns of the manifest and every attribute in it.

    Raises Refused with every problem found.
    """
    problems: list[str] = []
    unknown: dict[str, str] = {}
    for line, row in rows(file, DEVICE_ID):
        for name in _columns(row):
            if name not in unknown and not attributes.can_set(name):
                unknown[name] = f"line 1: column {attributes.unknown(name)}"
        try:
            check_attributes(_values(row, attributes, without=unknown))
        except (ValueError, AttributesInvalid) as error:
            problems.append(f"line {line}: device {row[DEVICE_ID]}: {error}")
        if row[""]:
            problems.append(f"line {line}: device {row[DEVICE_ID]}: a cell is under no column's name")
    if problems or unknown:
        raise invalid(file, [*unknown.values(), *problems])


def devices(file: Path, attributes: Attributes) -> Iterator[Device]:
    """Yield each device of a checked manifest with its attributes. An empty cell is no attribute.

    Raises Refused if the file has changed since and is invalid now.
    """
    for line, row in rows(file, DEVICE_ID):
        try:
            yield row[DEVICE_ID], _values(row, attributes)
        except ValueError as error:
            raise invalid(file, [f"line {line}: {error}"]) from error


def _columns(row: dict[str, str]) -> list[str]:
    """Return the names of the row's columns that are attributes."""
    return [name for name in row if name and name not in _NO_ATTRIBUTES]


def _values(row: dict[str, str], attributes: Attributes, without: Container[str] = ()) -> dict[str, Value]:
    """Return the attributes of a row, but for the columns `without`.

    Raises ValueError.
    """
    names = [name for name in _columns(row) if row[name] and name not in without]
    return {name: attributes.parse(name, row[name]) for name in names}


def batches(named: Iterator[Device], size: int) -> Iterator[dict[str, dict[str, Value]]]:
    """Yield the devices in groups of at most `size`, each as attributes by device id.

    At most `size` devices are in memory at a time.
    """
    while batch := dict(islice(named, size)):
        yield batch
