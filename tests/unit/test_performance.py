"""docs/performance.md has the form that `make bench` writes, and its judgements follow from the figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.growth import Grown
from bench.others import Other
from bench.page import form, page, table
from bench.profiles import Profile
from bench.report import COMPILED, FLOWS, OURS, PLAIN, QUICK, Judged, Report, costs, judged
from bench.speed import Measured, Results, Spread, ratios

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
TARGETS = [
    "CPU of a cold start, enroll",
    "CPU of a request, enroll",
    "CPU of a cold start, vend",
    "CPU of a request, vend",
    "CPU of a refusal, of an enrollment's",
    "AWS calls of a request, enroll",
    "AWS calls of a request, vend",
    "memory, enroll",
    "memory, vend",
    "the largest asset, zipped",
]


def measured(cpu: float, calls: int, memory: float) -> Measured:
    """Return three rounds with these figures."""
    made = Counter({"GetItem": calls})
    return Measured([cpu] * 3, [0.5] * 3, [cpu] * 3, [made] * 3, [memory] * 3)


def report(
    *, cpu: float = 70, calls: int = 2, memory: float = 80, zipped: float = 12, **changes: Any
) -> Report:
    """Return a report in which Firstboot has these figures, and the reference a CPU of 100."""
    results: Results = {}
    for flow in FLOWS:
        results[OURS, flow] = measured(cpu, calls, memory)
        results[PLAIN, flow] = results[COMPILED, flow] = measured(100, calls, memory)
    values: dict[str, Any] = {
        "where": "a machine",
        "size": QUICK,
        "results": results,
        "refused": dict.fromkeys(FLOWS, Spread(0.1, 0.1, 0.1)),
        "zipped": {"exchange": 1.0, "vend": zipped},
        "others": [Other("cfssl", "1.2.0", Spread(0.3, 0.3, 0.3))],
        "profiles": [Profile(flow, 0.5, [("botocore", 1.0)], [("urllib3", 1.0)]) for flow in FLOWS],
        "refusal": [("firstboot.pki", 1.0)],
        "costs": costs(),
        "grown": [Grown("import", 10_000, 1_000, 76.0, 70_500)],
        "rules": [],
    }
    return Report(**values | changes)


def by_name(found: list[Judged]) -> dict[str, bool]:
    """Return whether each target is met."""
    return {each.name: each.is_met for each in found}


def test_the_page_has_the_form_that_the_generator_writes() -> None:
    """The page has the text and the heads of tables that `make bench` writes."""
    assert form(PAGE.read_text()) == form(page(report()))


def test_the_page_has_every_target() -> None:
    """The page says of each target whether it is met."""
    text = PAGE.read_text().partition("## The targets")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row[0].strip() for row in rows] == TARGETS
    assert {row[-1].strip("* ") for row in rows} <= {"met", "missed"}


def test_a_report_at_the_targets_meets_them() -> None:
    """A figure that is exactly the target's meets it."""
    assert by_name(judged(report())) == dict.fromkeys(TARGETS, True)


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"cpu": 71}, {name for name in TARGETS if name.startswith(("CPU of a cold", "CPU of a request"))}),
        (
            {"refused": {"enroll": Spread(0.1, 0.11, 0.12), "vend": Spread(0.1, 0.1, 0.1)}},
            {"CPU of a refusal, of an enrollment's"},
        ),
        ({"calls": 3}, {"AWS calls of a request, vend"}),
        ({"calls": 4}, {"AWS calls of a request, vend", "AWS calls of a request, enroll"}),
        ({"memory": 81}, {"memory, enroll", "memory, vend"}),
        ({"zipped": 12.1}, {"the largest asset, zipped"}),
    ],
)
def test_a_worse_figure_misses_its_target(changes: dict[str, Any], missed: set[str]) -> None:
    """A figure that is worse than the target misses it, and no other target is missed."""
    found = judged(report(**changes))
    assert {name for name, is_met in by_name(found).items() if not is_met} == missed


def test_a_ratio_is_that_of_the_rounds() -> None:
    """A ratio compares the figures of the same round, and its quartiles are those of the rounds' ratios."""
    assert ratios([1, 2, 6], [2, 2, 3]) == Spread(0.75, 1, 1.5)


def test_the_usual_calls_are_those_of_most_requests() -> None:
    """A call that some requests make in addition is not counted."""
    usual, more = Counter(GetItem=1, AssumeRole=1), Counter(GetItem=1, AssumeRole=1, GetObject=1)
    assert Measured(calls=[more, usual, usual]).usual_calls == usual


def test_the_costs_are_those_of_the_deployment_guide() -> None:
    """The page has each sum of docs/deploy.md, of which tests hold the counts to the code."""
    assert costs()["A million first boots and renewals"].keys() == {"HTTPS", "MQTT", "renewal"}
    deploy = (PAGE.parent / "deploy.md").read_text()
    for columns in costs().values():
        sums = " | ".join(f"**{dollars}**" for dollars in columns.values())
        assert f"| **in all** | | {sums} |" in deploy
        assert all(f" {dollars} $ |" in PAGE.read_text() for dollars in columns.values())


def test_numbers_do_not_change_the_form() -> None:
    """Two runs with other figures and parts have one form."""
    one = report(cpu=50, others=[], grown=[Grown("list", 1_000, 1_000, 0.1, 2)])
    assert form(page(one)) == form(page(report()))


def test_rows_of_the_other_measurement_become_a_table() -> None:
    """The page shows the rows of bench/growth_rules.py."""
    rows = [{"rules": 1_000, "decide, ms": "0.35 (0.30 to 0.40)"}]
    assert table(["rules", "decide, ms"], [["1,000", "0.35 (0.30 to 0.40)"]]) in page(report(rules=rows))
