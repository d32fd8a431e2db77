"""A production run that is killed before or after any write can be continued."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firstboot.pki import chain
from tests.device.crash import DIED
from tests.production import Factory, base64_key, public_key


def deaths(factory: Factory, *more: str) -> list[dict[str, Any]]:
    """Return what factory_crash.py reports of each death."""
    program = [sys.executable, "-m", "tests.process.factory_crash", str(factory.out), *factory.command(*more)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def complete(factory: Factory, names: set[str], suffixes: set[str]) -> bool:
    """Return whether the run has the files and the row of each device, and no others."""
    files = {f"{name}{suffix}" for name in names for suffix in suffixes} | {"manifest.csv", "run.json"}
    rows = factory.manifest()
    return (
        {file.name for file in factory.out.iterdir()} == files
        and {file.stat().st_mode & 0o777 for file in factory.out.iterdir()} == {0o600}
        and [row["deviceId"] for row in rows] == sorted(names)
        and all(row["certificateId"] == chain.fingerprint(factory.chain(row["deviceId"])[0]) for row in rows)
    )


@pytest.mark.parametrize("keys", ["made here", "in secure elements"])
def test_killed_at_any_point_it_goes_on(tmp_path: Path, keys: str) -> None:
    """After a death at any point, one more run keeps the certificates and gives each device one."""
    factory = Factory.build(tmp_path)
    names = {"gateways-000001", "gateways-000002"}
    made_here = keys == "made here"
    manifest = factory.keys((name, base64_key(public_key())) for name in sorted(names))
    reported = deaths(factory, *(("--count", "2") if made_here else ("--manifest", str(manifest))))
    for death in reported:
        run = replace(factory, out=factory.out / str(death["point"]))
        assert death["codes"] == [0 if death is reported[-1] else DIED, 0], death["point"]
        assert complete(run, names, {".pem", ".key"} if made_here else {".pem"}), death["point"]
        assert {file: (run.out / file).read_text() for file in death["left"]} == death["left"], death["point"]
    assert len(reported) > 40
