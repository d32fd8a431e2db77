"""Read, choose and count the mutants that mutmut keeps in `mutants/**/*.meta`."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# To make the mutants and to find out which test calls what, mutmut has to run something: this small function.
SMALL = "firstboot.pki.anchors.*"

MOST = 30
"""Tests that a mutant is run with at first."""

KILLED, SURVIVED, NO_TEST, LEFT_OUT, OPEN = "killed", "survived", "no test", "left out", "open"
# mutmut's exit codes: those of pytest, and its own for a mutant that no test runs and one that is left out. A
# mutant that makes a test run for ever or crash is found out too, so each other number counts as killed.
_KINDS = {0: SURVIVED, 5: NO_TEST, 33: NO_TEST, 34: LEFT_OUT, None: OPEN}


def read(folder: Path) -> dict[str, str]:
    """Return the result of each mutant by its name, such as `firstboot.pki.der.x_read__mutmut_3`."""
    return {
        name: _KINDS.get(code, KILLED)
        for meta in _metas(folder)
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items()
    }


def choose(sample: int | None, seed: int, folder: Path) -> None:
    """Leave out all mutants but a random sample of about `sample`, of each module in proportion.

    Without a sample, all mutants are run. Those that have survived or had no test are run again.
    """
    forget(folder, LEFT_OUT, SURVIVED, NO_TEST)
    if sample is None:
        return
    metas = {path: json.loads(path.read_text()) for path in _metas(folder)}
    share = sample / sum(len(meta["exit_code_by_key"]) for meta in metas.values())
    chosen = random.Random(seed)  # noqa: S311 - no secret
    for path, meta in metas.items():
        codes = meta["exit_code_by_key"]
        kept = set(chosen.sample(sorted(codes), min(len(codes), math.ceil(len(codes) * share))))
        meta["exit_code_by_key"] = {name: code if name in kept else 34 for name, code in codes.items()}
        path.write_text(json.dumps(meta))


def forget(folder: Path, *kinds: str) -> None:
    """Have mutmut run the mutants with results of these kinds once more."""
    for path in _metas(folder):
        meta = json.loads(path.read_text())
        codes = meta["exit_code_by_key"]
        meta["exit_code_by_key"] = {
            name: None if _KINDS.get(code, KILLED) in kinds else code for name, code in codes.items()
        }
        path.write_text(json.dumps(meta))


@contextmanager
def few_tests(folder: Path) -> Iterator[None]:
    """Let mutmut run at most MOST tests for each function: those that call the fewest other functions.

    A thousand tests call a function of pki.der, and pytest needs a second to collect them.
    """
    path, kept = _stats(folder)
    whole = json.loads(path.read_text())
    path.rename(kept)
    tests = whole["tests_by_mangled_function_name"]
    called = Counter(test for each in tests.values() for test in each)
    few = {name: sorted(each, key=lambda test: (called[test], test))[:MOST] for name, each in tests.items()}
    path.write_text(json.dumps(whole | {"tests_by_mangled_function_name": few}))
    try:
        yield
    finally:
        all_tests(folder)


def all_tests(folder: Path) -> None:
    """Let mutmut run all tests again, also after a run that was killed."""
    path, kept = _stats(folder)
    if kept.exists():
        kept.rename(path)


def _stats(folder: Path) -> tuple[Path, Path]:
    return folder / "mutants/mutmut-stats.json", folder / "mutants/all-tests.json"


def _metas(folder: Path) -> list[Path]:
    return sorted((folder / "mutants").rglob("*.meta"))


def table(results: dict[str, str]) -> str:
    """Return a table of the results by package, each with the share that was killed and its 95 % interval."""
    counts: dict[str, Counter[str]] = {}
    for name, kind in results.items():
        for row in (name.split(".")[1], "all"):
            counts.setdefault(row, Counter())[kind] += 1
    lines = ["| package | mutants | run | killed | survived | no test runs it | killed, of those run |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row, count in sorted(counts.items(), key=lambda each: (each[0] == "all", each[0])):
        run = count[KILLED] + count[SURVIVED] + count[NO_TEST]
        share = (
            "" if not run else f"{count[KILLED] / run:.1%} ± {_margin(count[KILLED], run, count.total()):.1%}"
        )
        numbers = (count.total(), run, count[KILLED], count[SURVIVED], count[NO_TEST])
        lines.append(f"| {row} | {' | '.join(map(str, numbers))} | {share} |")
    return "\n".join(lines)


def _margin(killed: int, run: int, total: int) -> float:
    """Return half of the 95 % interval of a share in a sample without replacement (normal approximation)."""
    share = killed / run
    finite = (total - run) / (total - 1) if total > 1 else 0.0
    return 1.96 * math.sqrt(share * (1 - share) / run * finite)
