"""`console groups` and `devices list --enrolled-by`, with `operate` over moto behind them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from rich.console import Console

from console import manifest as manifest_
from console import output
from console.commands import groups
from tests import factories
from tests.aws.invoked import Run
from tests.aws.product import Product, group


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Where a test's manifest stands."""
    return tmp_path / "manifest.csv"


def test_expect_names_devices_with_their_attributes(product: Product, run: Run, manifest: Path) -> None:
    """Each in the type that the schema has; an empty cell is no attribute."""
    manifest.write_text("deviceId,site,quarantined\ngw-1,berlin,true\ngw-2,,false\n")
    done = run("groups", "expect", "gateways", str(manifest), "--json")
    assert json.loads(done.stdout) == {"group": "gateways", "expected": 2, "foreign": []}
    shown = json.loads(run("devices", "show", "gw-1", "--json").stdout)
    assert (shown["status"], shown["attributes"]) == ("expected", {"site": "berlin", "quarantined": True})
    shown = json.loads(run("devices", "show", "gw-2", "--json").stdout)
    assert shown["attributes"] == {"quarantined": False}


def test_a_factorys_manifest_is_taken_as_it_is(product: Product, run: Run, manifest: Path) -> None:
    """Its columns about certificates are no attributes."""
    manifest.write_text("deviceId,certificateId,serial,notAfter\ngw-1,aa,bb,2030-01-01T00:00:00Z\n")
    assert run("groups", "expect", "gateways", str(manifest)).exit_code == 0
    assert json.loads(run("devices", "show", "gw-1", "--json").stdout)["attributes"] == {}


def test_a_long_manifest_goes_in_parts_with_a_bar(
    product: Product, run: Run, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call takes only so many; a person at a terminal sees how far it is."""
    monkeypatch.setattr(groups, "AT_ONCE", 40)
    manifest.write_text("deviceId\n" + "".join(f"gw-{n}\n" for n in range(100)))
    terminal = io.StringIO()
    monkeypatch.setattr(output, "_err", Console(file=terminal, force_terminal=True))
    done = run("groups", "expect", "gateways", str(manifest), "--json")
    assert json.loads(done.stdout)["expected"] == 100
    assert "100/100" in terminal.getvalue()
    assert len([row for row in product.rows() if row["pk"]["S"].startswith("DEV#")]) == 100


def test_rows_are_not_kept() -> None:
    """However long the file is, only the devices of one call are in memory."""
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
        ("deviceId\ngw/1\n", "line 2: 'gw/1' is no device id"),
        ("deviceId\ngw-1\ngw-2\ngw-1\n", "line 4: device 'gw-1' is on line 2 already"),
        ('deviceId\n"gw-1\n', "line"),
    ],
)
def test_a_wrong_manifest_changes_nothing(
    product: Product, run: Run, manifest: Path, text: str, problem: str
) -> None:
    """All is read before anything is sent; the line is named."""
    manifest.write_text(text)
    done = run("groups", "expect", "gateways", str(manifest))
    assert (done.exit_code, done.stdout) == (1, "")
    assert problem in done.stderr
    assert product.rows() == []


def test_what_does_not_fit_the_schema_names_the_device(product: Product, run: Run, manifest: Path) -> None:
    """A mistyped column is found before it is a rule that never matches."""
    manifest.write_text("deviceId,sight\ngw-1,berlin\n")
    done = run("groups", "expect", "gateways", str(manifest))
    assert done.exit_code == 1
    assert "gw-1: sight" in done.stderr


def test_devices_of_another_group_are_named(product: Product, run: Run, manifest: Path) -> None:
    """They are left out, and the operator learns which."""
    product.identity("gw-1")
    both = {name: group(name, product.factory) for name in ("gateways", "others")}
    product.publish(groups=both)
    manifest.write_text("deviceId\ngw-1\ngw-2\n")
    done = run("groups", "expect", "others", str(manifest))
    assert "expects 1 devices" in done.stdout
    assert "left out, of another group: gw-1" in done.stdout


def test_a_group_is_shown_frozen_and_thawed(product: Product, run: Run) -> None:
    """Each says what is so now; and a frozen group takes no one."""
    product.identity("gw-1")
    shown = json.loads(run("groups", "show", "gateways", "--json").stdout)
    assert (shown["budget"]["spent"], shown["frozenAt"]) == (1, None)
    assert json.loads(run("groups", "freeze", "gateways", "--json").stdout)["frozenAt"]
    assert product.enroll(product.bootstrap("gw-2")).body["code"] == "enrollment-frozen"
    assert json.loads(run("groups", "thaw", "gateways", "--json").stdout)["frozenAt"] is None
    assert product.enroll(product.bootstrap("gw-2")).status == 201
    assert "frozenAt" in run("groups", "show", "gateways").stdout


def test_a_group_that_is_not_there(run: Run) -> None:
    """Its refusal names those that are."""
    done = run("groups", "show", "nobody")
    assert done.exit_code == 1
    assert "group-not-found: The groups are gateways" in done.stderr


@pytest.mark.parametrize("form", ["file", "hex", "colons"])
def test_what_a_certificate_enrolled_is_listed(product: Product, run: Run, tmp_path: Path, form: str) -> None:
    """By the file at hand or by its fingerprint, as other tools print it."""
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
    """Neither a fingerprint nor a certificate's file."""
    (tmp_path / "x").write_text("x")
    for given in ("ab", str(tmp_path / "x")):
        assert run("devices", "list", "--enrolled-by", given).exit_code == 2
