"""Change the code of four packages and run the tests on each change: `python -m tests.mutation [OPTIONS]`.

mutmut makes the changed functions (mutants) and forks a process for each, with the tests already imported.
The process runs only tests that call the function, the fastest first, and ends at the first failure. At first
it gets some of these tests. A mutant that they do not find is run again with all of them.

mutmut finds no code outside of a folder `src`, so the code and the tests are copied into .local/mutation. A
later run repeats what changed since, and what survived.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.mutation import results

ROOT = Path(__file__).parents[2]
PACKAGES = ("pki", "policy", "domain", "identity")

# What the tests read or import, and what mutmut copies once more.
_COPIED = (
    "tests",
    "docs",
    "functions",
    "fleet",
    "infra",
    "console",
    "device",
    "examples",
    "local",
    "audit",
    "cdk.json",
)

# These judge the repository's texts, the console or the device client.
_OTHERS = re.compile(
    r"test_(console_.*|device_.*|documents|glossary|openapi|plain_words|purity|services|shape|workflow)\.py"
)

# Tests of how work grows with the number of things. They take seconds each, and would run for most mutants.
_SLOW = ("in_time", "within_seconds", "growing_backlog", "take_little_work", "300_namesakes")

# Hypothesis makes so many examples in a test that asks for more than the profile does (tests/conftest.py).
_EXAMPLES = 10

_CONFIGURATION = f"""
[tool.pytest.ini_options]
pythonpath = ["."]
addopts = "-q --strict-markers -p no:xdist -p no:cacheprovider --hypothesis-profile mutation"
filterwarnings = ["error", "default::DeprecationWarning", "default::PendingDeprecationWarning"]

[tool.mutmut]
source_paths = ["src/firstboot"]
only_mutate = {[f"src/firstboot/{package}/*" for package in PACKAGES]}
also_copy = {list(_COPIED)}
pytest_add_cli_args = ["-k", "not ({" or ".join(_SLOW)})"]
pytest_add_cli_args_test_selection = ["tests/unit", "tests/field"]
use_git_change_detection = false
track_dependencies = false
"""


def main() -> None:
    """Prepare the folder, run mutmut and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, help="run about so many mutants, of each module in proportion")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sample")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT / ".local/mutation")
    parser.add_argument("--report", action="store_true", help="only print what the last run found")
    asked = parser.parse_args()
    if not asked.report:
        prepare(asked.folder)
        run(asked.folder, asked.processes, asked.sample, asked.seed)
    found = results.read(asked.folder)
    for name, kind in sorted(found.items()):
        if kind in {results.SURVIVED, results.NO_TEST}:
            print(f"{kind}: {name}")
    print(results.table(found))


def prepare(folder: Path) -> None:
    """Copy the code and the tests that judge it into `folder`, and configure mutmut there."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", _OTHERS.pattern)
    # mutmut keeps its own copies, of which some may be of files that are gone.
    for name in ("src", "mutants/tests", *_COPIED):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(ROOT / "functions", folder / "src", ignore=ignored)
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, folder / name)
    for path in [*(folder / "tests").rglob("test_*.py")]:
        if _OTHERS.fullmatch(path.name):
            path.unlink()
            continue
        text = path.read_text()
        path.write_text(re.sub(r"max_examples=\d+", f"max_examples={_EXAMPLES}", text))
    (folder / "pyproject.toml").write_text(_CONFIGURATION)


def run(folder: Path, processes: int, sample: int | None, seed: int) -> None:
    """Run all mutants that have no result, or a sample of them, and those that survived."""
    mutmut = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(processes)]

    def call(*more: str) -> None:
        subprocess.run([*mutmut, *more], cwd=folder, check=True)

    results.all_tests(folder)
    # mutmut makes all mutants, and finds out which tests call what, before it runs the one that it is told.
    call(results.SMALL)
    results.choose(sample, seed, folder)
    with results.few_tests(folder):
        call()
    results.forget(folder, results.SURVIVED)
    call()


if __name__ == "__main__":
    main()
