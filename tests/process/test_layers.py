"""import-linter reports an import that the layout forbids. Each case adds one to a copy of the code."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = ROOT / ".venv" / "bin" / "lint-imports"

LAYERS = "A package imports only from those below it"
BOTO3 = "All boto3 is under aws"
BUILDS = "Only a build module imports the adapters"
COMMANDS = "Only the console's main program and the walk on AWS import its commands"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the product's code, beside links to all other files that the linter reads."""
    folder = tmp_path_factory.mktemp("layers")
    for code in (ROOT / "functions" / "firstboot", ROOT / "console"):
        shutil.copytree(code, folder / code.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("infra", "device", "local", "audit", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def broken(folder: Path) -> list[str]:
    """Return the names of the contracts that the code in `folder` breaks."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [LINTER, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    lines = [line.strip() for line in done.stdout.splitlines()]
    found = [line.removesuffix(" BROKEN") for line in lines if line.endswith(" BROKEN")]
    assert (done.returncode == 0) == (not found), done.stdout + done.stderr
    return found


def test_the_code_as_it_is_breaks_nothing(copy: Path) -> None:
    """The unchanged copy breaks no contract, so the other cases show the effect of their change."""
    assert broken(copy) == []


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        ("pki/added.py", "import botocore", BOTO3),
        ("exchange/added.py", "import boto3", BOTO3),
        ("runtime/added.py", "from botocore.session import get_session", BOTO3),
        ("vend/added.py", "from firstboot.aws import clients", BUILDS),
        ("identity/added.py", "from firstboot.aws.dynamodb import rows", LAYERS),
        ("vend/added.py", "from firstboot.exchange import issue", LAYERS),
        ("domain/added.py", "from firstboot.pki import chain", LAYERS),
        ("../console/added.py", "from console.commands import devices", COMMANDS),
        ("pki/added.py", "from firstboot.policy import rules", LAYERS),
    ],
)
def test_an_import_against_the_layout_is_noticed(
    copy: Path, module: str, statement: str, contract: str
) -> None:
    """The linter names the contract that an added import breaks."""
    added = copy / "firstboot" / module
    added.write_text(f"{statement}\n")
    try:
        assert contract in broken(copy)
    finally:
        added.unlink()


def test_a_new_package_must_be_listed(copy: Path) -> None:
    """The linter refuses a package that the layers do not list."""
    added = copy / "firstboot" / "added"
    added.mkdir()
    (added / "__init__.py").touch()
    done = subprocess.run(
        [LINTER, "--no-cache"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(added)
    assert done.returncode != 0
    assert "added" in done.stdout
