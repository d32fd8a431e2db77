"""Manifests: CSV files with a row a device, read a row at a time, since there may be many."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from console import bootstrap, values
from console.cloud import Refused
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.names import device_id

DEVICE_ID = "deviceId"
# A factory's own manifest says the rest of certificates, not of devices.
_NO_ATTRIBUTES = set(bootstrap.COLUMNS)

Device = tuple[str, dict[str, values.Value]]


def rows(file: Path, *columns: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row and the line it begins on; `columns` must be among the file's.

    Raises Refused where the file stops being a manifest.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, restkey="", restval="", strict=True)
        try:
            if not set(columns) <= set(reader.fieldnames or ()):
                names = " and ".join(columns)
                raise invalid(file, [f"line 1: the first line must name the columns, {names} among them"])
            for row in reader:
                within = sum(value.count("\n") for value in row.values() if isinstance(value, str))
                yield reader.line_num - within, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise invalid(file, [f"line {reader.line_num + 1}: {error}"]) from error


def invalid(file: Path, problems: list[str]) -> Refused:
    """What is wrong with a manifest, before anything was done with it."""
    detail = "\n".join([f"{file}: nothing was done", *problems])
    return Refused({"code": "manifest-invalid", "detail": detail, "problems": problems})


def check(file: Path) -> int:
    """How many devices the manifest names.

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


def devices(file: Path, fits: Callable[[str, values.Value], bool]) -> Iterator[Device]:
    """Each device with its attributes, typed as the fleet's schema has them (`fits`); an empty cell is
    none.
    """
    for _, row in rows(file, DEVICE_ID):
        texts = {name: text for name, text in row.items() if name not in _NO_ATTRIBUTES and text}
        typed = values.typed(texts, fits)
        yield row[DEVICE_ID], {name: value for name, value in typed.items() if value is not None}


def batches(named: Iterator[Device], size: int) -> Iterator[dict[str, dict[str, values.Value]]]:
    """Yield the devices in groups of at most `size`, each as attributes by device id.

    At most `size` devices are in memory at a time.
    """
    while batch := dict(islice(named, size)):
        yield batch
