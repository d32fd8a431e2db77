"""The README's section "Try it by hand": its commands are run as they are written, against a local stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from local.processes import ROOT
from tests.flows.conftest import Cloud

README = (ROOT / "README.md").read_text()
_MARK = "@@@"
_SECONDS = 300


def blocks() -> list[tuple[str, str]]:
    """Return the section's shell blocks, each with the output that the README shows after it, or ""."""
    (section,) = re.findall(r"^## Try it by hand$(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    shown = r"(?:\s*^```(?:text|json)\n(.*?)^```$)?"
    found = re.findall(rf"^```sh\n(.*?)^```$\n{shown}", section, re.MULTILINE | re.DOTALL)
    assert len(found) == section.count("```sh\n")
    assert sum(bool(output) for _, output in found) == len(
        re.findall(r"^```(?:text|json)$", section, re.MULTILINE)
    )
    return found


def missing(shown: str, output: str) -> list[str]:
    """Return the shown lines that the output does not have in their order; `…` stands for any text."""
    lines = iter(output.splitlines())
    patterns = {line: ".*".join(map(re.escape, line.split("…"))) for line in shown.splitlines()}
    return [
        line for line, pattern in patterns.items() if not any(re.fullmatch(pattern, each) for each in lines)
    ]


@pytest.fixture(scope="module")
def checkout(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the checkout, with the running stack's folder as `.local`."""
    folder = tmp_path_factory.mktemp("checkout")
    for entry in ROOT.iterdir():
        if entry.name != ".local":
            (folder / entry.name).symlink_to(entry)
    (folder / ".local").symlink_to(Path(cloud.endpoints["api_ca"]).parent)
    return folder


@pytest.fixture(scope="module")
def ran(checkout: Path) -> subprocess.CompletedProcess[str]:
    """All blocks but the first, run in one shell that has none of this test's environment."""
    script = "".join(f"echo '{_MARK}'\n{commands}" for commands, _ in blocks()[1:])
    path = [each for each in os.environ["PATH"].split(os.pathsep) if not each.startswith(sys.prefix)]
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=checkout,
        env={"PATH": os.pathsep.join(path), "HOME": str(checkout), "AWS_PROFILE": "personal"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def test_the_first_block_starts_the_stack_of_these_tests() -> None:
    """The first block is `make local`, whose recipe is the command that the fixture `cloud` runs."""
    assert blocks()[0][0] == "make local\n"
    recipe = re.search(r"^local:.*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    assert recipe[1] == "$(BIN)/python -m local up"


def test_every_command_succeeds(ran: subprocess.CompletedProcess[str]) -> None:
    """The shell, which ends at the first command that fails, gets to the end of the last block."""
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.splitlines().count(_MARK) == len(blocks()) - 1


def test_the_outputs_are_like_those_shown(ran: subprocess.CompletedProcess[str]) -> None:
    """Each output that the README shows has its lines, in their order, in the output of its block."""
    outputs = ran.stdout.split(f"{_MARK}\n")[1:]
    for (commands, shown), output in zip(blocks()[1:], outputs, strict=True):
        assert missing(shown, output) == [], f"{commands}\nprinted:\n{output}"


def test_the_comparison_finds_a_missing_line() -> None:
    """A shown line that is absent, or comes in another order, is reported; other lines may be in between."""
    assert missing("a\nb…d\n", "a\nx\nbcd\n") == []
    assert missing("a\nb\n", "a\nc\n") == ["b"]
    assert missing("a\nb\n", "b\na\n") == ["b"]
