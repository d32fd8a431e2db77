"""Write what the other devices read, and lie to get out of a rule that forbids.

A maker gives devices a grant that lets all of them write to one place. An attacker who owns one device
changes what the others read there. Or a maker forbids something by a claim, and the attacker's device claims
something else. The first is refused until the fleet says that the grant is shared, and both are shown to the
maker.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.compiler import fleet as compiler
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.fleets import RULES, TELEMETRY

_RULE = """
@id("no-old-model") forbid (principal, action == Action::"hold", resource)
when { principal.claims has model && principal.claims.model == "old" };
"""
_WRITERS: dict[str, dict[str, Any]] = {
    "objects": {"Action": "s3:PutObject", "Resource": "arn:aws:s3:::acme/all/*"},
    "topics": {
        "Action": "iot:Publish",
        "Resource": "arn:aws:iot:{region}:{account}:topic/$aws/rules/Reports/x",
    },
    "a message that others wait for": {"Action": "sqs:ReceiveMessage", "Resource": "arn:aws:sqs:r:1:orders"},
    "metrics": {
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": "acme"}},
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the example fleet folder, which is deployed."""
    copy = tmp_path / "copy"
    shutil.copytree("fleet", copy)
    (tmp_path / "deployed.json").write_text(compiler.load(copy).to_json())
    monkeypatch.setattr(aws_fleet, "_DEPLOYED", tmp_path / "deployed.json")
    return copy


@pytest.mark.parametrize("written", _WRITERS)
def test_a_place_that_all_write_is_shared_by_name_only(folder: Path, run: Run, written: str) -> None:
    """A grant that writes without the id is refused until it is called shared; then each command says so."""
    statement = {"Effect": "Allow", **_WRITERS[written]}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    (folder / "grants" / "reports.json").write_text(json.dumps(document))
    refused = run("fleet", "apply", str(folder), "--yes", "--json")
    assert refused.exit_code == 1
    assert "allows devices to write, and names no device" in refused.output
    toml = folder / "fleet.toml"
    toml.write_text(toml.read_text() + "\n[grants.reports]\nshared = true\n")
    for command in ("check", "diff", "report"):
        assert json.loads(run("fleet", command, str(folder), "--json").stdout)["sharedGrants"] == ["reports"]
    for command in ("check", "diff"):
        assert "grant reports is shared" in run("fleet", command, str(folder)).stdout
    page = _page(folder, run)
    assert "reports (shared: its devices write the same)" in page


def _page(folder: Path, run: Run) -> str:
    """Return the report on a fleet folder as HTML."""
    file = folder.parent / "report.html"
    assert run("fleet", "report", str(folder), "--html", str(file)).exit_code == 0
    return file.read_text()


def test_a_lie_lifts_a_rule_that_forbids_by_a_claim(product: Product) -> None:
    """A device that claims to be another model gets the credentials that a rule withholds from its model."""
    product.publish(rules=RULES + _RULE, grants={"telemetry": TELEMETRY})
    statuses = {}
    for name, model in {"gw-honest": "old", "gw-liar": "new"}.items():
        enrolled = product.enroll(product.bootstrap(name), claims={"model": model})
        answer = product.call(
            "GET", "/role-aliases/telemetry/credentials", product.certificate(enrolled), headers={"x": "y"}
        )
        statuses[name] = answer.status
    assert statuses == {"gw-honest": 403, "gw-liar": 200}


def test_each_command_marks_a_rule_that_forbids_by_a_claim(folder: Path, run: Run) -> None:
    """Each command that shows a fleet says of a rule that forbids by a claim that it is no barrier."""
    name = "no-telemetry-from-1-4-2-rc1"
    for command in ("check", "diff", "report"):
        assert json.loads(run("fleet", command, str(folder), "--json").stdout)["forbidsByClaim"] == [name]
    for command in ("check", "diff"):
        text = " ".join(run("fleet", command, str(folder)).stdout.split())
        assert f"rule {name} forbids by a claim: it is no barrier" in text
    assert "by a claim: no barrier" in _page(folder, run)
    rules = folder / "rules.cedar"
    rules.write_text(rules.read_text().replace("principal.claims has firmware &&", "false &&"))
    rules.write_text(rules.read_text().replace('principal.claims.firmware == "1.4.2-rc1"', "false"))
    assert json.loads(run("fleet", "check", str(folder), "--json").stdout)["forbidsByClaim"] == []
