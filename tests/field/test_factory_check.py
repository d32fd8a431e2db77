"""`console factory check` says of each chain whether the product admits it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from console.__main__ import app
from tests.field.corpus import Case, cases


def checked(case: Case, folder: Path, exit_code: int) -> dict[str, Any]:
    """Run the command for a chain over the example fleet, whose gateways trust the chain's anchor."""
    shutil.copytree("fleet", folder / "fleet")
    shutil.copy(case.folder / case.case["files"]["anchor"], folder / "fleet/trust/acme-factory.pem")
    files = {name: str(case.folder / file) for name, file in case.case["files"].items()}
    chain = ["--chain", files["intermediates"]] if "intermediates" in files else []
    at = case.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    where = ["--group", "gateways", "--fleet", str(folder / "fleet"), "--at", at, "--json"]
    result = CliRunner().invoke(app, ["factory", "check", files["leaf"], *chain, *where])
    assert result.exit_code == exit_code, result.output
    found: dict[str, Any] = json.loads(result.stdout or result.stderr)
    return found


@pytest.mark.parametrize("case", [case for case in cases("chain") if not case.is_good], ids=str)
def test_a_bad_chain_is_refused(case: Case, tmp_path: Path) -> None:
    """A chain to refuse ends the command with code 1 and the code that the product has."""
    found = checked(case, tmp_path, 1)
    codes = case.codes | ({"bootstrap-expired"} if "certificate-expired" in case.codes else set())
    assert found["code"] in codes
    assert found["reason"]


@pytest.mark.parametrize("case", [case for case in cases("chain") if case.is_good], ids=str)
def test_a_good_chain_is_accepted(case: Case, tmp_path: Path) -> None:
    """A chain to accept has a path. The certificate is admitted if its common name is a device id."""
    leaf = case.leaf()
    names = leaf.subject.values("2.5.4.3")
    is_id = len(names) == 1 and not set(names[0]) - set("0123456789-_.") - set(map(chr, range(65, 123)))
    found = checked(case, tmp_path, 0 if is_id else 1)
    assert found["path"][0] == leaf.subject.text()
    assert found["anchor"]["subject"] == case.anchor().subject.text()
    if is_id:
        assert (found["accepted"], found["deviceId"], found["deviceIdFrom"]) == (True, names[0], "subject.CN")
        assert ("mTLS" in found["ways"]) == ("intermediates" not in case.case["files"])
        return
    assert found["code"] in ("device-id-invalid", "certificate-malformed")
