"""An operator gives the console a CSV file with a mistake, or one from a spreadsheet of another country.

A file with a mistake must be refused as a whole, before a record is written. A file that only looks different
must mean the same.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import factories
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.aws.test_import import in_aws_iot
from tests.fleets import group

MANY = "".join(f"gw-{number:04d},berlin\n" for number in range(600))
"""Rows of more devices than one call takes."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of the file that the operator gives."""
    return tmp_path / "fleet.csv"


@pytest.mark.parametrize("command", [("groups", "expect"), ("devices", "import")])
@pytest.mark.parametrize(
    ("last", "problem"),
    [
        ("gw-9,a,b\n", "line 602: cell 3 is under no column"),
        ("gw-9\n", "line 602: there is no cell for column 'site'"),
        ("gw-0007,paris\n", "line 602: column deviceId: device 'gw-0007' is on line 9 already"),
        (",paris\n", "line 602: column deviceId: '' is no device id"),
        (
            "stable,paris\n",
            "line 602: column deviceId: 'stable' is no device id: The fleet reserves 'stable'",
        ),
        ('"gw-9,paris\n', "line 602: a quote does not close"),
        ("gw-9,pa\x00ris\n", "line 602: there is a NUL character"),
        (f"gw-9,{'x' * 9000}\n", "line 602: device gw-9: A device's attributes"),
    ],
)
def test_a_mistake_in_the_last_row_writes_nothing(
    product: Product, run: Run, file: Path, command: tuple[str, str], last: str, problem: str
) -> None:
    """A mistake behind hundreds of good rows is named with its line, and no record is written."""
    product.publish(reserved=("stable",))
    file.write_text(f"deviceId,site\n{MANY}{last}")
    done = run(*command, "gateways", str(file))
    assert (done.exit_code, done.stdout, done.exception.__class__) == (1, "", SystemExit)
    assert f"{file}: nothing was done" in done.stderr
    assert problem in done.stderr
    assert product.rows() == []


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("deviceId,site,site", "line 1: column 'site' is there twice"),
        ("deviceId,site, site", "line 1: column 'site' is there twice"),
        ("deviceId,sight,zone", "line 1: column 'sight' is no attribute that can be set"),
        ("deviceId;site,zone", "line 1: comma and semicolon can't both separate the columns"),
        ("sep=|\ndeviceId|site|zone", "line 1: '|' can't be the separator"),
    ],
)
def test_a_mistake_in_the_columns_writes_nothing(
    product: Product, run: Run, file: Path, header: str, problem: str
) -> None:
    """Columns that are repeated, unknown or separated in two ways are named, and no record is written."""
    file.write_text(f"{header}\ngw-1,berlin,paris\n")
    done = run("groups", "expect", "gateways", str(file))
    assert done.exit_code == 1
    assert problem in done.stderr
    assert product.rows() == []


@pytest.mark.parametrize(
    "content",
    [
        b"deviceId, site\ngw-1, berlin\n",
        b"\xef\xbb\xbfdeviceId;site\r\ngw-1;berlin\r\n",
        b"sep=;\r\ndeviceId;site\r\ngw-1;berlin\r\n;\r\n",
        "deviceId\tsite\r\ngw-1\tberlin\r\n".encode("utf-16"),
    ],
)
def test_a_file_of_a_spreadsheet_means_the_same(
    product: Product, run: Run, file: Path, content: bytes
) -> None:
    """Spaces after commas, semicolons, tabs, `sep=` and UTF-16 give the device its attribute."""
    file.write_bytes(content)
    assert run("groups", "expect", "gateways", str(file)).exit_code == 0
    shown = product.operate("devices.show", deviceId="gw-1")["result"]
    assert (shown["status"], shown["attributes"]) == ("expected", {"site": "berlin"})


def test_an_import_reads_the_same_files(product: Product, run: Run, file: Path) -> None:
    """`devices import` reads a file in UTF-16 with tabs."""
    in_aws_iot("gw1", "ACTIVE", key=factories.ec_key())
    file.write_bytes("deviceId\tsite\r\ngw1\tberlin\r\n".encode("utf-16"))
    assert json.loads(run("devices", "import", "gateways", str(file), "--json").stdout)["imported"] == 1


def test_the_answer_says_what_the_file_changed(product: Product, run: Run, file: Path) -> None:
    """`groups expect` counts new and known devices, and names those of another group, also when repeated."""
    product.publish(groups={name: group(name, product.factory) for name in ("gateways", "others")})
    product.operate("groups.expect", group="others", devices={"gw-3": {}})
    product.operate("groups.expect", group="gateways", devices={"gw-1": {"site": "berlin"}})
    file.write_text("deviceId,site\ngw-1,paris\ngw-2,paris\ngw-3,paris\n")
    for new in (1, 0):
        done = run("groups", "expect", "gateways", str(file), "--json")
        counted = {"expected": 2, "new": new, "known": 2 - new, "foreign": ["gw-3"], "warnings": []}
        assert json.loads(done.stdout) == {"group": "gateways"} | counted
    assert product.operate("devices.show", deviceId="gw-1")["result"]["attributes"] == {"site": "berlin"}
    assert "0 new, 2 known before" in run("groups", "expect", "gateways", str(file)).stdout
