"""Test that systemd accepts the unit files of this repository, as `systemd-analyze verify` reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.programs import PLACES, units

ROOT = Path(__file__).parents[2]
KINDS = {".mount", ".path", ".service", ".socket", ".target", ".timer"}
UNITS = sorted(
    path
    for folder in ("device", "docs", "examples")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in KINDS
)
SERVE = ROOT / "device/firstboot-credentials.service"
PROGRAM = re.compile(r"^Exec\w+=[-@:+!]*/(\S+)", re.MULTILINE)

# A program's unit, with the lines that the comment in the unit of `device serve` says.
CLIENT = """[Unit]
PartOf=firstboot-credentials.service
[Service]
ExecStart=/usr/bin/program
{lines}
"""

Verify = Callable[[str, str], str]


@pytest.fixture
def verify(tmp_path: Path) -> Verify:
    """Return a function that gives a unit to systemd, and returns what systemd says against it."""
    analyze = shutil.which("systemd-analyze", path=PLACES)
    if analyze is None:
        pytest.skip("systemd-analyze is not installed: run `make test-clients`")
    # A root folder of its own, because the units' programs are not on this machine.
    root = tmp_path / "root"
    shutil.copytree(units(), root / "usr/lib/systemd/system", symlinks=True)
    (root / "etc/systemd/system").mkdir(parents=True)
    shutil.copy(SERVE, root / "etc/systemd/system")

    def run(name: str, text: str) -> str:
        (root / "etc/systemd/system" / name).write_text(text)
        for program in (*PROGRAM.findall(text), *PROGRAM.findall(SERVE.read_text())):
            (root / program).parent.mkdir(parents=True, exist_ok=True)
            (root / program).touch(mode=0o755)
        command = [analyze, "verify", "--man=no", "--recursive-errors=no", f"--root={root}", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not done.stdout
        return done.stderr or ("refused" if done.returncode else "")

    return run


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_each_unit(verify: Verify, unit: Path) -> None:
    """Systemd knows each section, key and value of a unit file of the repository."""
    assert verify(unit.name, unit.read_text()) == ""


def test_every_unit_is_verified() -> None:
    """The unit of `device serve` is one of those that are verified."""
    assert SERVE in UNITS


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("ProtectSystem=strict", "ProtectSystem=stritc"),
        ("NoNewPrivileges=", "NoNewPrivilege="),
        ("[Service]", "[Services]"),
        ("RestrictAddressFamilies=AF_INET ", "RestrictAddressFamilies=INET "),
        ("ExecStart=/opt", "ExecStart=opt"),
    ],
)
def test_systemd_refuses_a_mistake(verify: Verify, right: str, wrong: str) -> None:
    """Systemd names a mistake in a section, key or value, so that a silent check has looked."""
    text = SERVE.read_text()
    assert right in text
    assert verify("wrong.service", text.replace(right, wrong)) != ""


def test_systemd_accepts_the_lines_for_programs(verify: Verify) -> None:
    """Systemd accepts what the unit's comment says to add to the units of programs."""
    comment = "\n".join(line for line in SERVE.read_text().splitlines() if line.startswith("#"))
    lines = re.findall(r"\b(?:Environment|LoadCredential|DeviceAllow|SupplementaryGroups)=[^\n,]+", comment)
    assert len(lines) == 6
    assert verify("program.service", CLIENT.format(lines="\n".join(lines))) == ""
