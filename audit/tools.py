"""The audit's tools and their findings.

The tools have a virtual environment of their own, because they need other versions of packages that are
locked here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_BIN = ROOT / ".venv/audit/bin"


@dataclass(frozen=True)
class Finding:
    """A finding of a tool. `key` is the key of its reason in accepted.py; None if it can't be accepted."""

    key: str | None
    text: str


class Unavailable(Exception):
    """A check can't be done here. The text gives the reason."""


class Failed(Exception):
    """A tool did not produce a report."""


def checkov(template: Path) -> list[Finding]:
    """Return checkov's findings in a CloudFormation template. Raises Failed."""
    report = _json("checkov", "-f", template, "--framework", "cloudformation", "--output", "json", "--quiet")
    return [
        Finding(each["check_id"], f"{each['check_id']} {each['check_name']}: {each['resource']}")
        for each in report["results"]["failed_checks"]
    ]


def parliament(folder: Path) -> list[Finding]:
    """Return parliament's findings in the policy documents (*.json) of a folder. Raises Failed."""
    done = _run("parliament", "--directory", folder, "--json")
    return [finding for line in done.splitlines() for finding in _of_parliament(json.loads(line))]


def _of_parliament(found: dict[str, Any]) -> list[Finding]:
    name, detail = Path(found["location"]["filepath"]).stem, found["detail"]
    if found["issue"] == "RESOURCE_MISMATCH":
        return [
            Finding(each["action"], f"{name}: {each['action']} takes {each['required_format']}")
            for each in detail
        ]
    unknown = re.fullmatch(r"Unknown (?:action (\S+)|condition (\S+) for action \S+)", str(detail))
    return [Finding(unknown and (unknown[1] or unknown[2]), f"{name}: {found['issue']}: {detail}")]


def pip_audit(lock: Path) -> list[Finding]:
    """Return the known vulnerabilities of the packages in a lock file.

    Raises Unavailable if the advisories of no package could be read, as on a machine that reaches only a
    mirror of PyPI.
    """
    try:
        report = _json(
            *("pip-audit", "--requirement", lock, "--require-hashes", "--disable-pip"),
            *("--format", "json", "--progress-spinner", "off"),
        )
    except Failed as error:
        raise Unavailable(str(error)) from error
    packages = report["dependencies"]
    skipped = [each for each in packages if "skip_reason" in each]
    if len(skipped) == len(packages):
        raise Unavailable(f"PyPI's advisories can't be reached: none of {len(packages)} packages was checked")
    return [Finding(None, each["skip_reason"]) for each in skipped] + [
        Finding(None, f"{each['name']} {each['version']}: {vulnerability['id']}")
        for each in packages
        for vulnerability in each.get("vulns", [])
    ]


def _json(*command: str | Path) -> Any:  # noqa: ANN401 - a tool's report
    return json.loads(_run(*command))


def _run(program: str | Path, *arguments: str | Path) -> str:
    """Return a tool's standard output.

    Raises Failed. Exit code 1 means findings or a crash; a crash leaves no output.
    """
    done = subprocess.run(
        [_BIN / program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PATH": f"{_BIN}:{os.environ['PATH']}", "PYTHONWARNINGS": "ignore"},
    )
    if done.returncode not in {0, 1} or (done.returncode and not done.stdout):
        raise Failed(f"{program}: {(done.stderr.strip() or 'no output').splitlines()[-1]}")
    return done.stdout
