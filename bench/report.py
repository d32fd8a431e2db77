"""The report of `make bench`, judged by the targets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from bench import speed
from bench.growth import Grown
from bench.others import Other
from bench.profiles import Part, Profile
from bench.speed import Measured, Results, Spread
from bench.world import ROOT

OURS, PLAIN, COMPILED = "Firstboot", "reference", "reference, all compiled"
FLOWS = {"enroll": ("exchange", "exchange.http"), "vend": ("vend", "vend.http")}
"""The Lambda file and the handler of each flow."""

MOST_RATIO, MOST_REFUSAL, MOST_MEMORY, MOST_ZIPPED = 0.7, 0.1, 80, 12.0
_TIMES = "\N{MULTIPLICATION SIGN}"
CALLS = {"enroll": 3, "vend": 2}


@dataclass(frozen=True)
class Size:
    """The size of a run: rounds of cold starts, warm requests in a round, repeats of profiles, devices.

    `has_rules` says whether the growth with rules and grants is measured, which takes a minute.
    """

    rounds: int
    requests: int
    profiles: int
    devices: tuple[int, ...]
    has_rules: bool = True


WHOLE = Size(rounds=12, requests=40, profiles=7, devices=(1_000, 10_000, 100_000))
QUICK = Size(rounds=3, requests=15, profiles=2, devices=(1_000,), has_rules=False)


@dataclass(frozen=True)
class Report:
    """The findings of a run.

    `refused` is the CPU of a refusal in a storm as a ratio to that of a success, for each flow, and `refusal`
    the shares of packages in that of an enrollment. `zipped` has the MB of each asset, `costs` the dollars of
    docs/deploy.md.
    """

    where: str
    size: Size
    results: Results
    refused: dict[str, Spread]
    zipped: dict[str, float]
    others: list[Other]
    profiles: list[Profile]
    refusal: list[Part]
    costs: dict[str, dict[str, str]]
    grown: list[Grown]
    rules: list[dict[str, Any]]

    def of(self, name: str, flow: str) -> Measured:
        """Return what a variant used."""
        return self.results[name, flow]


@dataclass(frozen=True)
class Judged:
    """A target: what must hold, what was measured, its quartiles in words, and whether it is met."""

    name: str
    goal: str
    measured: str
    spread: str
    is_met: bool


def judged(report: Report) -> list[Judged]:
    """Return the targets of issue 17, each with what was measured."""
    found = []
    for flow in FLOWS:
        ours, plain = report.of(OURS, flow), report.of(PLAIN, flow)
        found.append(_ratio(f"CPU of a cold start, {flow}", speed.ratios(ours.cold, plain.cold)))
        found.append(_ratio(f"CPU of a request, {flow}", speed.ratios(ours.warm, plain.warm)))
    found.append(_ratio("CPU of a refusal, of an enrollment's", report.refused["enroll"], MOST_REFUSAL))
    for flow, most in CALLS.items():
        calls = report.of(OURS, flow).usual_calls.total()
        found.append(Judged(f"AWS calls of a request, {flow}", f"{most}", f"{calls}", "", calls <= most))
    for flow in FLOWS:
        memory = Spread.of(report.of(OURS, flow).memory)
        found.append(
            Judged(
                f"memory, {flow}",
                f"at most {MOST_MEMORY} MB",
                f"{memory.middle:.0f} MB",
                f"{memory.low:.0f} to {memory.high:.0f}",
                memory.high <= MOST_MEMORY,
            )
        )
    largest = max(report.zipped, key=lambda name: report.zipped[name])
    zipped = report.zipped[largest]
    goal, measured = f"at most {MOST_ZIPPED:.0f} MB", f"{zipped:.1f} MB"
    found.append(Judged("the largest asset, zipped", goal, measured, "", zipped <= MOST_ZIPPED))
    return found


def _ratio(name: str, spread: Spread, most: float = MOST_RATIO) -> Judged:
    return Judged(
        name,
        f"at most {most:.2f} {_TIMES}",
        f"{spread.middle:.2f} {_TIMES}",
        f"{spread.low:.2f} to {spread.high:.2f}",
        spread.middle <= most,
    )


def costs() -> dict[str, dict[str, str]]:
    """Return the dollars of docs/deploy.md, "What it costs", by the title and the column of their table."""
    text = (ROOT / "docs/deploy.md").read_text().partition("## What it costs")[2].partition("\n## ")[0]
    form = r"^\*\*([^*]+)\*\*.*?\n\n\| \| price(.*?)\| \*\*in all\*\* \|(.*?)$"
    found = {}
    for table in re.finditer(form, text, re.MULTILINE | re.DOTALL):
        title, head, sums = table.groups()
        names = [name.strip() for name in head.splitlines()[0].split("|")[1:-1]]
        found[title] = dict(zip(names, re.findall(r"\*\*([\d.]+)\*\*", sums), strict=True))
    return found
