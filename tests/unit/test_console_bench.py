"""`console factory ca` replaces the example's placeholder by a new CA, and replaces no other anchor."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from typer.testing import CliRunner, Result

from console.__main__ import app
from console.factory_ca import check, load
from firstboot.compiler.fleet import load as compiled
from firstboot.compiler.trust import is_placeholder
from firstboot.pki.certificate import parse_text
from tests import factories

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Return a copy of the example's fleet folder."""
    return Path(shutil.copytree(ROOT / "fleet", tmp_path / "fleet"))


def make(fleet: Path, group: str = "gateways") -> Result:
    """Run the command, which puts its CA into `bench` beside the fleet folder."""
    out = str(fleet.parent / "bench")
    return CliRunner().invoke(
        app, ["factory", "ca", "--group", group, "--out", out, "--fleet", str(fleet), "--json"]
    )


def test_the_fleet_trusts_the_new_ca(fleet: Path) -> None:
    """The group accepts certificates of the new CA for twenty years, and only its owner can read the key."""
    done = make(fleet)
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    assert Path(made["anchor"]).read_bytes() == Path(made["ca"]).read_bytes()
    issuer = load(Path(made["ca"]), Path(made["key"]), bytes)
    now = datetime.now(UTC)
    assert check(issuer, compiled(fleet).groups["gateways"], now, now + timedelta(days=7_300)) == b""
    assert (Path(made["key"]).stat().st_mode & 0o777, Path(made["key"]).parent.stat().st_mode & 0o777) == (
        0o600,
        0o700,
    )


def test_the_other_groups_placeholder_is_left(fleet: Path) -> None:
    """The placeholder of another group stays as it is."""
    sensors = (fleet / "trust/acme-sensors.pem").read_bytes()
    make(fleet)
    assert (fleet / "trust/acme-sensors.pem").read_bytes() == sensors


def refused(fleet: Path, group: str = "gateways") -> str:
    """Return the code of a refusal, which changes no file and leaves no key."""
    before = {file: file.read_bytes() for file in fleet.parent.rglob("*") if file.is_file()}
    done = make(fleet, group)
    assert done.exit_code == 1, done.output
    assert {file: file.read_bytes() for file in fleet.parent.rglob("*") if file.is_file()} == before
    return str(json.loads(done.stderr)["code"])


def test_a_real_factorys_anchor_is_left_alone(fleet: Path) -> None:
    """The anchor of a real factory is not replaced."""
    (fleet / "trust/acme-factory.pem").write_text(factories.pem(factories.authority("Real CA").certificate))
    assert refused(fleet) == "no-placeholder"


def test_an_anchor_beside_the_placeholder_is_left_alone(fleet: Path) -> None:
    """A file with another certificate beside the placeholder is not replaced."""
    with (fleet / "trust/acme-factory.pem").open("a") as file:
        file.write(factories.pem(factories.authority("Real CA").certificate))
    assert refused(fleet) == "no-placeholder"


def test_a_group_must_be_there(fleet: Path) -> None:
    """A group that does not exist is refused."""
    assert refused(fleet, "gatways") == "no-placeholder"


def test_a_key_is_never_overwritten(fleet: Path) -> None:
    """The command refuses a folder that exists, so that it overwrites no key."""
    (fleet.parent / "bench").mkdir()
    assert refused(fleet) == "folder-in-use"


def test_a_second_ca_is_refused(fleet: Path) -> None:
    """A second CA is refused, because the first one is no placeholder."""
    make(fleet)
    shutil.move(fleet.parent / "bench", fleet.parent / "kept")
    assert refused(fleet) == "no-placeholder"


def test_the_examples_anchors_are_placeholders_and_ours_is_none(fleet: Path) -> None:
    """The example's anchors are recognised as placeholders, and the new CA is not."""
    for file in (fleet / "trust").glob("*.pem"):
        assert is_placeholder(parse_text(file.read_text()))
    make(fleet)
    made = fleet.parent / "bench/ca.pem"
    assert not is_placeholder(parse_text(made.read_text()))
    assert load_pem_private_key(made.with_suffix(".key").read_bytes(), None)
