"""Test what `make mutation` makes of mutmut's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mutation import results
from tests.mutation.results import KILLED, LEFT_OUT, NO_TEST, OPEN, SURVIVED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the results of two modules and the tests of two functions."""
    modules = {
        "pki/der": {f"firstboot.pki.der.x_read__mutmut_{number}": None for number in range(90)},
        "policy/sums": {f"firstboot.policy.sums.x_of__mutmut_{number}": None for number in range(10)},
    }
    for name, codes in modules.items():
        meta = tmp_path / f"mutants/src/firstboot/{name}.py.meta"
        meta.parent.mkdir(parents=True)
        meta.write_text(json.dumps({"exit_code_by_key": codes, "durations_by_key": {}}))
    tests = [f"tests/unit/test_{file}.py::test_{number}" for file in "ab" for number in range(200)]
    stats = {
        "duration_by_test": {test: float(position) for position, test in enumerate(tests)},
        "tests_by_mangled_function_name": {"x": tests[::-1], "y": tests[:3]},
        "stats_time": 1,
    }
    (tmp_path / "mutants/mutmut-stats.json").write_text(json.dumps(stats))
    return tmp_path


def _set(folder: Path, module: str, *codes: int | None) -> None:
    path = folder / f"mutants/src/firstboot/{module}.py.meta"
    meta = json.loads(path.read_text())
    meta["exit_code_by_key"] |= dict(zip(meta["exit_code_by_key"], codes, strict=False))
    path.write_text(json.dumps(meta))


def test_a_sample_is_of_each_module_in_proportion(folder: Path) -> None:
    """A sample leaves out mutants of each module alike, and the same seed gives the same sample."""
    results.choose(20, 1, folder)
    found = results.read(folder)
    kept = {name for name, kind in found.items() if kind == OPEN}
    assert len(kept) == 20
    assert sum(".sums." in name for name in kept) == 2
    assert set(found.values()) == {OPEN, LEFT_OUT}
    results.choose(20, 1, folder)
    assert {name for name, kind in results.read(folder).items() if kind == OPEN} == kept
    results.choose(None, 1, folder)
    assert set(results.read(folder).values()) == {OPEN}


def test_survivors_are_run_again(folder: Path) -> None:
    """A new run keeps the results of killed mutants only."""
    _set(folder, "policy/sums", 0, 1, 33, 34, -9)
    kinds = list(results.read(folder).values())[-10:]
    assert kinds[:5] == [SURVIVED, KILLED, NO_TEST, LEFT_OUT, KILLED]
    results.choose(None, 1, folder)
    assert list(results.read(folder).values())[-10:-5] == [OPEN, KILLED, OPEN, OPEN, KILLED]


def test_few_tests_are_those_about_the_function(folder: Path) -> None:
    """A function's few tests are those that call the fewest functions, and afterwards all are there again."""
    path = folder / "mutants/mutmut-stats.json"
    before = json.loads(path.read_text())
    with results.few_tests(folder):
        tests = json.loads(path.read_text())["tests_by_mangled_function_name"]
    assert len(tests["x"]) == results.MOST
    assert not set(tests["x"]) & set(tests["y"])
    assert sorted(tests["y"]) == before["tests_by_mangled_function_name"]["y"]
    assert json.loads(path.read_text()) == before


def test_the_table_has_shares_and_their_intervals(folder: Path) -> None:
    """The table has a line for each package and one for all, with the share of killed mutants."""
    _set(folder, "pki/der", *[1] * 60, *[0] * 15, *[33] * 5, *[34] * 10)
    _set(folder, "policy/sums", *[1] * 10)
    lines = results.table(results.read(folder)).splitlines()
    assert "| pki | 90 | 80 | 60 | 15 | 5 | 75.0% ± 3.2% |" in lines
    assert "| policy | 10 | 10 | 10 | 0 | 0 | 100.0% ± 0.0% |" in lines
    assert "| all | 100 | 90 | 70 | 15 | 5 | 77.8% ± 2.7% |" in lines
