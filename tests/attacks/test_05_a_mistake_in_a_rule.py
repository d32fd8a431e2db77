"""An operator's mistake: a rule that gives a grant to other devices than it should.

The compiler accepts the rule, because it is valid. Before, the mistake was seen when devices held the grant.
Now a maker's own tests find it in CI, without AWS and without a device.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from console import cloud
from console.__main__ import app

RULE = 'when   { principal has channel && principal.channel == "stable" && context.roleAlias == "updates" };'
MISTAKE = 'when   { principal has channel || principal.quarantined || context.roleAlias == "updates" };'


def run(*arguments: str) -> Result:
    """Run the console."""
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the example's fleet folder with a mistake in a rule, where no call of AWS is possible."""
    monkeypatch.delattr(cloud, "client")
    copy = Path(shutil.copytree("fleet", tmp_path / "fleet"))
    rules = copy / "rules.cedar"
    assert RULE in rules.read_text()
    rules.write_text(rules.read_text().replace(RULE, MISTAKE))
    return copy


def test_a_maker_s_tests_find_it(folder: Path) -> None:
    """The compiler finds nothing, and `fleet test` fails with the device, the grant and the rule."""
    assert run("fleet", "check", str(folder)).exit_code == 0
    done = run("fleet", "test", str(folder), "--json")
    assert done.exit_code == 1
    failures = {each["test"]: each["text"] for each in json.loads(done.stdout)["failures"]}
    assert failures["a device on another channel may not"] == (
        "firmware: expected not to be held, and it is held by rule stable-firmware"
    )


def test_a_reviewer_asks_without_a_device(folder: Path) -> None:
    """`devices explain --group` shows who would hold the grant, from the folder and without AWS."""
    asked = ("devices", "explain", "--group", "sensors", "--fleet", str(folder))
    text = run(*asked, "--context", "roleAlias=updates").stdout
    assert "firmware" in text
    assert "by stable-firmware" in text
    assert "by stable-firmware" not in run(*asked[:-1], "fleet", "--context", "roleAlias=updates").stdout
