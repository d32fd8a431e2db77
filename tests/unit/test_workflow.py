"""The workflow for GitHub Actions does what .ci/run does, with no more rights than it needs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text()


def test_the_workflow_runs_the_targets_of_ci_run() -> None:
    """The workflow's matrix has the make targets of .ci/run, in their order."""
    (matrix,) = re.findall(r"^ +target: \[(.*)\]$", WORKFLOW, re.MULTILINE)
    targets = re.findall(r"^make (\S+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert targets
    assert matrix.split(", ") == targets
    assert "- run: make ${{ matrix.target }}\n" in WORKFLOW


def test_the_workflow_may_only_read() -> None:
    """The workflow's token may read the repository and nothing else, and the workflow uses no secret."""
    (rights,) = re.findall(r"^ *permissions:\n((?: +.*\n)+)", WORKFLOW, re.MULTILINE)
    assert rights == "  contents: read\n"
    assert "secrets." not in WORKFLOW
    assert "persist-credentials: false" in WORKFLOW


def test_every_action_is_pinned() -> None:
    """Each action is named by a commit, which no tag can move, with its version beside it."""
    actions = re.findall(r"uses: (.*)$", WORKFLOW, re.MULTILINE)
    assert actions
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in actions)


def test_every_hook_of_pre_commit_is_a_program_that_make_installs() -> None:
    """Each hook in .pre-commit-config.yaml runs a program of .venv or a make target that exists."""
    hooks = re.findall(r"^ +entry: (\S+) (\S+)", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    locked = (ROOT / "requirements.txt").read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert hooks
    for program, argument in hooks:
        if program == "make":
            assert re.search(rf"^{argument}:", makefile, re.MULTILINE), argument
        elif program != ".venv/bin/python":
            assert f"\n{program.removeprefix('.venv/bin/')}==" in locked, program
