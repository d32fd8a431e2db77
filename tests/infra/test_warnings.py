"""A synth warns about grants that a device could hold together and that are too large for one session."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.infra.conftest import ROOT, synthesise
from tests.unit.fleet_folders import large

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")


def test_grants_that_are_too_large_together_are_a_warning_of_the_synth(tmp_path: Path) -> None:
    """Grants of a new device that do not fit together are a warning of the synth, which succeeds."""
    folder = Path(shutil.copytree(ROOT / "fleet", tmp_path / "fleet"))
    for name in "abcd":
        (folder / f"grants/{name}.json").write_text(json.dumps(large(name)))
        with (folder / "rules.cedar").open("a") as rules:
            rules.write(f'@id("{name}") permit (principal, action, resource == Grant::"{name}");\n')
    synthesise(tmp_path / "out", fleet=str(folder))
    assembly = "".join(each.read_text() for each in (tmp_path / "out").glob("*.json"))
    assert (
        "groups.gateways: a new device with a long id: role alias telemetry: the grants a, b, c, d"
        in assembly
    )


def test_a_topic_that_is_too_long_is_a_warning_of_the_synth(tmp_path: Path) -> None:
    """A topic of a grant that AWS IoT takes from no device is a warning of the synth, which succeeds."""
    folder = Path(shutil.copytree(ROOT / "fleet", tmp_path / "fleet"))
    grant = json.loads((folder / "grants/mqtt.json").read_text())
    deep = "arn:{partition}:iot:{region}:{account}:topic/{deviceId}/a/b/c/d/e/f/g/h"
    grant["Statement"].append({"Effect": "Allow", "Action": "iot:Receive", "Resource": deep})
    (folder / "grants/mqtt.json").write_text(json.dumps(grant))
    synthesise(tmp_path / "out", fleet=str(folder))
    assembly = "".join(each.read_text() for each in (tmp_path / "out").glob("*.json"))
    assert "has 8 slashes, and AWS IoT takes 7 in a topic: no device can use it" in assembly
