"""`python -m audit`: run checkov, parliament and pip-audit on what would be deployed.

The exit code is 1 if a tool reports a finding that is not explained. A check that can't be done here is
printed as NOT DONE and does not fail, because a machine that reaches only a mirror of PyPI must be able to do
the others. Read these lines before a release.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from audit import accepted, tools
from audit.policies import documents
from audit.tools import ROOT, Finding, Unavailable
from firstboot.compiler.fleet import load

_DOMAIN = {
    "name": "devices.example.com",
    "certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/c",
}
_TEMPLATE = "Firstboot.template.json"


def main() -> int:
    """Do all checks. Return 1 if one of them has an unexplained finding, otherwise 0."""
    with tempfile.TemporaryDirectory() as folder:
        template = _synthesise(Path(folder) / "out")
        policies = _written(Path(folder) / "policies", template)
        lock = "requirements.txt"
        checks: list[tuple[str, Callable[[], list[Finding]], Mapping[str, str]]] = [
            ("checkov on the template", lambda: tools.checkov(template), accepted.CHECKOV),
            (
                f"parliament on {policies[1]} policies",
                lambda: tools.parliament(policies[0]),
                accepted.PARLIAMENT,
            ),
            ("pip-audit on what ships", lambda: tools.pip_audit(ROOT / "functions" / lock), {}),
            ("pip-audit on what we work with", lambda: tools.pip_audit(ROOT / lock), {}),
        ]
        passed = [_check(*check) for check in checks]
    return 0 if all(passed) else 1


def unexplained(found: list[Finding], reasons: Mapping[str, str]) -> list[str]:
    """Return the findings without a reason, and the reasons without a finding."""
    spare = set(reasons) - {finding.key for finding in found}
    return [finding.text for finding in found if finding.key not in reasons] + [
        f"{key} is accepted, and is not found any more" for key in sorted(spare)
    ]


def _check(name: str, find: Callable[[], list[Finding]], reasons: Mapping[str, str]) -> bool:
    try:
        problems = unexplained(found := find(), reasons)
    except Unavailable as error:
        print(f"NOT DONE  {name}: {error}")
        return True
    print(f"{'FAILED' if problems else 'ok':8}  {name}: {len(found)} findings, {len(problems)} unexplained")
    for problem in problems:
        print(f"          {problem}")
    return not problems


def _synthesise(out: Path) -> Path:
    """Return the path of the synthesised template, with every optional part in it.

    The app gets its context in the environment, as the CDK CLI gives it.
    """
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    context |= {"domain": _DOMAIN, "aws:cdk:bundling-stacks": []}
    environment = os.environ | {"CDK_CONTEXT_JSON": json.dumps(context), "CDK_OUTDIR": str(out)}
    subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, check=True, stderr=subprocess.DEVNULL
    )
    return out / _TEMPLATE


def _written(folder: Path, template: Path) -> tuple[Path, int]:
    folder.mkdir()
    found = documents(load(ROOT / "fleet"), json.loads(template.read_text()))
    for name, document in found.items():
        (folder / f"{name}.json").write_text(document)
    return folder, len(found)


if __name__ == "__main__":
    sys.exit(main())
