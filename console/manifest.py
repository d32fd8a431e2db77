"""Manifests: CSV files with a row a device, read a row at a time, since there may be many."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from console.cloud import Refused

DEVICE_ID = "deviceId"


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
