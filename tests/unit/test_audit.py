"""The audit reports every finding without a reason, and says which checks it could not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from audit import __main__ as audit
from audit import policies, tools
from audit.tools import Finding, Unavailable
from firstboot.compiler.fleet import load

LOCK = Path("functions/requirements.txt")


def answer(monkeypatch: pytest.MonkeyPatch, output: object) -> None:
    """Replace each tool's output with `output`."""
    monkeypatch.setattr(tools, "_run", lambda *_: output if isinstance(output, str) else json.dumps(output))


def test_a_finding_without_a_reason_is_reported() -> None:
    """A finding is reported unless its own key has a reason; a finding without a key is always reported."""
    found = [Finding("known", "k"), Finding("new", "n"), Finding(None, "crash")]
    assert audit.unexplained(found, {"known": "because"}) == ["n", "crash"]


def test_a_reason_without_a_finding_is_reported() -> None:
    """A reason is reported when its finding no longer occurs."""
    assert audit.unexplained([], {"old": "because"}) == ["old is accepted, and is not found any more"]


def test_policies_are_written_as_aws_receives_them() -> None:
    """The audit gets every role policy and every form of every grant, with no variable left in them."""
    role = {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "Policies": [{"PolicyDocument": {"Statement": [{"Resource": {"Ref": "AWS::Region"}}]}}]
        },
    }
    resource = {"Fn::Join": ["", [{"Fn::GetAtt": ["Bucket", "Arn"]}, "/*"]]}
    attached = {
        "Type": "AWS::IAM::Policy",
        "Properties": {"PolicyDocument": {"Statement": [{"Resource": resource}]}},
    }
    template = {"Resources": {"R": role, "P": attached, "Bucket": {"Type": "AWS::S3::Bucket"}}}
    found = policies.documents(load(Path("fleet")), template)
    assert {"session-telemetry", "session-all", "iot-mqtt", "token-mqtt", "iot-service-claim"} <= set(found)
    assert "us-east-1" in found["role-R-0"]
    assert "arn:aws:s3:::sample/*" in found["role-P-0"]
    assert not [text for text in found.values() if "${" in text or "Fn::" in text or '"Ref"' in text]


def test_findings_of_parliament_are_keyed_by_what_they_are_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings of parliament are keyed by action or condition, so that a reason accepts no whole kind."""
    place = {"filepath": "x/role-Vend.json"}
    lines: list[dict[str, Any]] = [
        {
            "issue": "RESOURCE_MISMATCH",
            "detail": [{"action": "a:B", "required_format": "*"}],
            "location": place,
        },
        {"issue": "UNKNOWN_ACTION", "detail": "Unknown action a:C", "location": place},
        {
            "issue": "UNKNOWN_CONDITION_FOR_ACTION",
            "detail": "Unknown condition a:E for action a:F",
            "location": place,
        },
        {"issue": "RESOURCE_STAR", "detail": ["a:D"], "location": place},
    ]
    answer(monkeypatch, "\n".join(map(json.dumps, lines)))
    assert [finding.key for finding in tools.parliament(Path("x"))] == ["a:B", "a:C", "a:E", None]


def test_a_vulnerability_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vulnerability is a finding, and so is a single package for which there are no advisories."""
    known = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}
    answer(monkeypatch, {"dependencies": [known, {"name": "b", "skip_reason": "b is not found"}]})
    assert [each.text for each in tools.pip_audit(LOCK)] == ["b is not found", "a 1: CVE-1"]


def test_unreadable_advisories_do_not_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check that could read no advisories is reported as not done, and not as passed."""
    answer(monkeypatch, {"dependencies": [{"name": "b", "skip_reason": "b is not found"}]})
    with pytest.raises(Unavailable, match="none of 1 packages"):
        tools.pip_audit(LOCK)
    assert audit._check("pip-audit", lambda: tools.pip_audit(LOCK), {})
    assert capsys.readouterr().out.startswith("NOT DONE  pip-audit: PyPI's advisories can't be reached")
