"""`console groups` and `devices list --enrolled-by`, which call `operate` over moto."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from rich.console import Console

from console import manifest as manifest_
from console import output
from console.commands import groups
from tests import factories
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.fleets import group


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Return the path of a test's manifest."""
    return tmp_path / "manifest.csv"


def test_expect_names_devices_with_their_attributes(product: Product, run: Run, manifest: Path) -> None:
    """Each attribute gets the type of the schema. An empty cell is no attribute."""
    manifest.write_text("deviceId,site,quarantined\ngw-1,berlin,true\ngw-2,,false\n")
    done = run("groups", "expect", "gateways", str(manifest), "--json")
    counted = {"expected": 2, "new": 2, "known": 0, "foreign": [], "warnings": []}
    assert json.loads(done.stdout) == {"group": "gateways"} | counted
    shown = json.loads(run("devices", "show", "gw-1", "--json").stdout)
    assert (shown["status"], shown["attributes"]) == ("expected", {"site": "berlin", "quarantined": True})
    shown = json.loads(run("devices", "show", "gw-2", "--json").stdout)
    assert shown["attributes"] == {"quarantined": False}


def test_an_id_of_another_group_is_found_before_any_is_expected(
    product: Product, run: Run, manifest: Path
) -> None:
    """A file and a call with an id that the group's devices can't have are refused, and write nothing."""
    product.publish(groups={"gateways": replace(product.fleet.groups["gateways"], ids="gw-*")})
    manifest.write_text("deviceId\ngw-1\nsn-1\nsn-2\n")
    done = run("groups", "expect", "gateways", str(manifest), "--json")
    assert done.exit_code == 1
    assert json.loads(done.stderr)["problems"] == [
        f"line {line}: group gateways has the ids gw-*, and {name} is another"
        for line, name in ((3, "sn-1"), (4, "sn-2"))
    ]
    problem = product.operate("groups.expect", group="gateways", devices={"gw-1": {}, "sn-1": {}})["problem"]
    assert (problem["code"], problem["detail"]) == (
        "device-id-invalid",
        "Group gateways has the ids gw-*, and not sn-1",
    )
    assert not [row for row in product.rows() if row["pk"]["S"].startswith("DEV#")]


def test_a_manifest_of_factory_issue_is_accepted(product: Product, run: Run, manifest: Path) -> None:
    """The columns that describe certificates are not attributes."""
    manifest.write_text("deviceId,certificateId,serial,notAfter\ngw-1,aa,bb,2030-01-01T00:00:00Z\n")
    assert run("groups", "expect", "gateways", str(manifest)).exit_code == 0
    assert json.loads(run("devices", "show", "gw-1", "--json").stdout)["attributes"] == {}


def test_a_long_manifest_goes_in_parts_with_a_bar(
    product: Product, run: Run, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long manifest takes several calls, and a terminal shows the progress."""
    monkeypatch.setattr(groups, "AT_ONCE", 40)
    manifest.write_text("deviceId\n" + "".join(f"gw-{n}\n" for n in range(100)))
    terminal = io.StringIO()
    monkeypatch.setattr(output, "_err", Console(file=terminal, force_terminal=True))
    done = run("groups", "expect", "gateways", str(manifest), "--json")
    assert json.loads(done.stdout)["expected"] == 100
    assert "100/100" in terminal.getvalue()
    assert len([row for row in product.rows() if row["pk"]["S"].startswith("DEV#")]) == 100


def test_rows_are_not_kept() -> None:
    """Only the devices of one call are in memory."""
    alive = 0

    def endless() -> Iterator[manifest_.Device]:
        nonlocal alive
        for number in range(10_000):
            alive = number
            yield f"gw-{number}", {}

    first = next(manifest_.batches(endless(), groups.AT_ONCE))
    assert len(first) == groups.AT_ONCE
    assert alive < groups.AT_ONCE + 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name\ngw-1\n", "deviceId"),
        ("deviceId\n", "no row"),
        ("deviceId\ngw/1\n", "line 2: column deviceId: 'gw/1' is no device id: A device id has 1 to 64"),
        ("deviceId\ngw-1\ngw-2\ngw-1\n", "line 4: column deviceId: device 'gw-1' is on line 2 already"),
        ('deviceId\n"gw-1\n', "line"),
        ("deviceId,site,site\ngw-1,a,b\n", "line 1: column 'site' is there twice"),
        ("deviceId,site\ngw-1,a,b\n", "line 2: cell 3 is under no column; the first line has 2"),
        ("deviceId,claims\ngw-1,x\n", "line 1: column 'claims' is no attribute that can be set"),
        (
            "deviceId,quarantined\ngw-1,true\ngw-2,perhaps\n",
            "line 3: device gw-2: attribute quarantined must be true or false, not 'perhaps'",
        ),
        (f"deviceId,site\ngw-1,{'x' * 9999}\n", "line 2: device gw-1: A device's attributes"),
    ],
)
def test_a_wrong_manifest_changes_nothing(
    product: Product, run: Run, manifest: Path, text: str, problem: str
) -> None:
    """A manifest with a mistake is refused with its line before anything is sent."""
    manifest.write_text(text)
    done = run("groups", "expect", "gateways", str(manifest))
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{manifest}: nothing was done" in done.stderr
    assert problem in done.stderr
    assert product.rows() == []


def test_a_misspelled_column_is_refused_once(product: Product, run: Run, manifest: Path) -> None:
    """A column that is no attribute is one problem, which lists the attributes that there are."""
    manifest.write_text("deviceId,sight\ngw-1,berlin\ngw-2,paris\n")
    done = run("groups", "expect", "gateways", str(manifest), "--json")
    assert done.exit_code == 1
    (problem,) = json.loads(done.stderr)["problems"]
    assert problem.startswith("line 1: column 'sight' is no attribute that can be set")
    assert problem.endswith("the schema has quarantined (true or false), site (text)")


def test_a_message_shows_a_part_of_many_problems(product: Product, run: Run, manifest: Path) -> None:
    """A wrong cell in each of many rows does not fill the terminal; JSON has every problem."""
    manifest.write_text("deviceId,quarantined\n" + "".join(f"gw-{n},maybe\n" for n in range(1000)))
    done = run("groups", "expect", "gateways", str(manifest))
    assert done.stderr.endswith("and 950 more\n")
    assert (
        len(json.loads(run("groups", "expect", "gateways", str(manifest), "--json").stderr)["problems"])
        == 1000
    )


def test_empty_columns_of_a_spreadsheet_are_ignored(product: Product, run: Run, manifest: Path) -> None:
    """A column with neither name nor values is no mistake."""
    manifest.write_text("deviceId,site,,\ngw-1,berlin,,\n")
    assert run("groups", "expect", "gateways", str(manifest)).exit_code == 0


def test_devices_of_another_group_are_named(product: Product, run: Run, manifest: Path) -> None:
    """Devices of another group are left out and named. If there are no others, the exit code is 1."""
    product.identity("gw-1")
    both = {name: group(name, product.factory) for name in ("gateways", "others")}
    product.publish(groups=both)
    manifest.write_text("deviceId\ngw-1\ngw-2\n")
    done = run("groups", "expect", "others", str(manifest))
    assert "expects 1 devices" in done.stdout
    assert "left out, of another group: gw-1" in done.stdout
    assert done.exit_code == 0
    manifest.write_text("deviceId\ngw-1\n")
    assert run("groups", "expect", "others", str(manifest)).exit_code == 1


def test_a_group_is_shown_frozen_and_thawed(product: Product, run: Run) -> None:
    """Each command prints the group's new state, and a frozen group refuses enrollments."""
    product.identity("gw-1")
    shown = json.loads(run("groups", "show", "gateways", "--json").stdout)
    assert (shown["budget"]["spent"], shown["frozenAt"]) == (1, None)
    assert json.loads(run("groups", "freeze", "gateways", "--json").stdout)["frozenAt"]
    assert product.enroll(product.bootstrap("gw-2")).body["code"] == "enrollment-frozen"
    assert json.loads(run("groups", "thaw", "gateways", "--json").stdout)["frozenAt"] is None
    assert product.enroll(product.bootstrap("gw-2")).status == 201


def test_a_budget_is_shown_in_enrollments_and_days(product: Product, run: Run) -> None:
    """The words say what the budget counts, how much is used, and the last day as fleet.toml has it."""
    product.identity("gw-1")
    text = run("groups", "show", "gateways").stdout
    assert "1 of 1,000 enrollments" in text
    assert "until 2099-12-31, the last day (UTC)" in text
    assert "frozen       no" in text
    assert "frozen       since 20" in run("groups", "freeze", "gateways").stdout


def test_a_group_without_a_budget_says_so(product: Product, run: Run) -> None:
    """A group that nothing limits is shown as such."""
    product.publish(groups={"gateways": replace(group("gateways", product.factory), budget=None)})
    assert "enrollments are neither counted nor limited" in run("groups", "show", "gateways").stdout


def test_a_group_that_is_not_there(run: Run) -> None:
    """The refusal of an unknown group names the groups that there are."""
    done = run("groups", "show", "gatways")
    assert done.exit_code == 1
    assert "group-not-found: The groups are gateways" in done.stderr


@pytest.mark.parametrize("form", ["file", "hex", "colons"])
def test_what_a_certificate_enrolled_is_listed(product: Product, run: Run, tmp_path: Path, form: str) -> None:
    """`--enrolled-by` accepts a certificate's file or its fingerprint, in the forms that tools print."""
    leaf = product.bootstrap("gw-1")
    product.enroll(leaf)
    product.identity("gw-2")
    file = tmp_path / "bootstrap.pem"
    file.write_text(factories.pem(leaf))
    plain = leaf.fingerprint(SHA256()).hex()
    given = {"file": str(file), "hex": plain, "colons": leaf.fingerprint(SHA256()).hex(":").upper()}[form]
    listed = json.loads(run("devices", "list", "--enrolled-by", given, "--json").stdout)["devices"]
    assert [device["deviceId"] for device in listed] == ["gw-1"]


def test_what_is_no_certificate_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    """`--enrolled-by` refuses a value that is no fingerprint and no certificate's file, and names it."""
    (tmp_path / "text").write_text("x")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for given in ("ab", str(tmp_path / "text"), str(tmp_path / "bytes"), str(tmp_path)):
        done = run("devices", "list", "--enrolled-by", given)
        assert done.exit_code == 2
        assert given in done.stderr
