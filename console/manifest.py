"""Read manifests: CSV files with a row for each device.

Rows are read one at a time, because there may be many. The whole file is checked before a row is used.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice
from pathlib import Path

from console import bootstrap, supposed
from console.attributes import Attributes, Value
from console.csv_file import Row, changed, checked_rows, invalid, rows
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.fleet import Group
from firstboot.domain.names import ANY_FLEET, IdRule, device_id
from firstboot.operate.excess import check_sum
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.limits import check_attributes
from firstboot.policy.sums import Sums

DEVICE_ID = "deviceId"
# The other columns of a factory's manifest describe certificates, not devices.
_NO_ATTRIBUTES = set(bootstrap.COLUMNS)

Device = tuple[str, dict[str, Value]]


def check(file: Path) -> int:
    """Return how many devices the manifest names.

    Raises Refused with every problem found.
    """
    problems: list[str] = []
    lines: dict[str, int] = {}
    for row in rows(file, DEVICE_ID):
        problems += [f"line {row.line}: {text}" for text in _problems(row, lines)]
    if not lines and not problems:
        problems.append("there is no row in it")
    if problems:
        raise invalid(file, problems)
    return len(lines)


def _problems(row: Row, lines: dict[str, int]) -> list[str]:
    """Return what is wrong with a row. `lines` has the line of each device before it, and gets this one."""
    if row.problem:  # any cell may be in another column than it should be
        return [row.problem]
    name, problems = row.cells[DEVICE_ID], []
    try:
        device_id(name)
    except DeviceIdInvalid as error:
        problems.append(no_id(name, error))
    if (first := lines.setdefault(name, row.line)) != row.line:
        problems.append(f"column {DEVICE_ID}: device {name[:80]!a} is on line {first} already")
    return problems


def no_id(name: str, error: DeviceIdInvalid) -> str:
    """Return what is wrong with a cell that should have a device id."""
    return f"column {DEVICE_ID}: {name[:80]!a} is no device id: {error.detail}"


def check_values(file: Path, attributes: Attributes, rule: IdRule = ANY_FLEET) -> None:
    """Check the columns of a manifest of which `check` found no problem, and every attribute in it.

    `rule` is the fleet's rule for device ids.
    Raises Refused with every problem found.
    """
    problems: list[str] = []
    unknown: dict[str, str] = {}
    for line, cells, _ in rows(file, DEVICE_ID):
        for name in _columns(cells):
            if name not in unknown and not attributes.can_set(name):
                unknown[name] = f"line 1: column {attributes.unknown(name)}"
        try:
            device_id(cells[DEVICE_ID], rule)
            check_attributes(_values(cells, attributes, without=unknown))
        except DeviceIdInvalid as error:
            problems.append(f"line {line}: {no_id(cells[DEVICE_ID], error)}")
        except (ValueError, AttributesInvalid) as error:
            problems.append(f"line {line}: device {cells[DEVICE_ID]}: {error}")
    if problems or unknown:
        raise invalid(file, [*unknown.values(), *problems])


def check_space(file: Path, group: Group | None) -> None:
    """Check that each device of a checked manifest has an id that a device of the group may have.

    Without a group nothing is checked, because `operate` refuses the first call for an unknown one.
    Raises Refused with every problem found.
    """
    if group is None:
        return
    problems = [
        f"line {line}: group {group.name} has {group.space}, and {cells[DEVICE_ID]} is another"
        for line, cells, _ in checked_rows(file, DEVICE_ID)
        if not group.may_name(cells[DEVICE_ID])
    ]
    if problems:
        raise invalid(file, problems)


def check_sums(file: Path, attributes: Attributes, group: str, sums: Sums) -> None:
    """Check that no device of a checked manifest would certainly hold more grants than fit together.

    `operate` refuses such a device too, but only when it comes to its part of the manifest.
    Raises Refused with every problem found.
    """
    problems: list[str] = []
    for line, cells, _ in checked_rows(file, DEVICE_ID):
        new = supposed.device(group, _values(cells, attributes), device_id=device_id(cells[DEVICE_ID]))
        try:
            check_sum(sums, None, new)
        except AttributesInvalid as error:
            problems.append(f"line {line}: device {cells[DEVICE_ID]}: {error.detail}")
    if problems:
        raise invalid(file, problems)


def devices(file: Path, attributes: Attributes) -> Iterator[Device]:
    """Yield each device of a checked manifest with its attributes. An empty cell is no attribute.

    Raises Refused if the file has changed since and is invalid now.
    """
    for line, cells, _ in checked_rows(file, DEVICE_ID):
        try:
            yield cells[DEVICE_ID], _values(cells, attributes)
        except ValueError as error:
            raise changed(file, [f"line {line}: {error}"]) from error


def _columns(cells: dict[str, str]) -> list[str]:
    """Return the names of the row's columns that are attributes."""
    return [name for name in cells if name and name not in _NO_ATTRIBUTES]


def _values(cells: dict[str, str], attributes: Attributes, without: Container[str] = ()) -> dict[str, Value]:
    """Return the attributes of a row, but for the columns `without`.

    Raises ValueError.
    """
    names = [name for name in _columns(cells) if cells[name] and name not in without]
    return {name: attributes.parse(name, cells[name]) for name in names}


def batches(named: Iterator[Device], size: int) -> Iterator[dict[str, dict[str, Value]]]:
    """Yield the devices in groups of at most `size`, each as attributes by device id.

    At most `size` devices are in memory at a time.
    """
    while batch := dict(islice(named, size)):
        yield batch
