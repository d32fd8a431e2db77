"""The tools, each asked for its findings. They live in a virtual environment of their own: what they need
would get in the way of what we lock.
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
    """`key` is what it is accepted by; None if it can't be."""

    key: str | None
    text: str


class Unavailable(Exception):
    """A tool could not look at anything; the text says why."""


class Failed(Exception):
    """A tool came to no end."""


def checkov(template: Path) -> list[Finding]:
    """What checkov finds in a CloudFormation template."""
    report = _json("checkov", "-f", template, "--framework", "cloudformation", "--output", "json", "--quiet")
    return [
        Finding(each["check_id"], f"{each['check_id']} {each['check_name']}: {each['resource']}")
        for each in report["results"]["failed_checks"]
    ]


def parliament(folder: Path) -> list[Finding]:
    """What parliament finds in the policy documents (*.json) of a folder."""
    done = _run("parliament", "--directory", folder, "--json")
    return [finding for line in done.splitlines() for finding in _of_parliament(json.loads(line))]


def _of_parliament(found: dict[str, Any]) -> list[Finding]:
    name, detail = Path(found["location"]["filepath"]).stem, found["detail"]
    if found["issue"] == "RESOURCE_MISMATCH":
        return [
            Finding(each["action"], f"{name}: {each['action']} takes {each['required_format']}")
            for each in detail
        ]
    unknown = re.fullmatch(r"Unknown action (\S+)", str(detail))
    return [Finding(unknown and unknown[1], f"{name}: {found['issue']}: {detail}")]


def pip_audit(lock: Path) -> list[Finding]:
    """Known vulnerabilities of the packages in a lock file.

    Raises Unavailable if the advisories of none of them could be read, as where only a mirror of PyPI's
    packages is reached.
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
        raise Unavailable(
            f"PyPI's advisories can't be reached: none of {len(packages)} packages was looked at"
        )
    return [Finding(None, each["skip_reason"]) for each in skipped] + [
        Finding(None, f"{each['name']} {each['version']}: {vulnerability['id']}")
        for each in packages
        for vulnerability in each.get("vulns", [])
    ]


def _json(*command: str | Path) -> Any:  # noqa: ANN401 - a tool's report
    return json.loads(_run(*command))


def _run(program: str | Path, *arguments: str | Path) -> str:
    """A tool's standard output.

    Raises Failed. Exit code 1 tells of findings as well as of a crash, which leaves no output.
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
