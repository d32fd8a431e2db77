"""Writes docs/performance.md from a report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench import others, speed
from bench.profiles import Part, Profile
from bench.report import COMPILED, FLOWS, OURS, PLAIN, Report, judged
from bench.speed import Measured, Spread

TEMPLATE = Path(__file__).with_name("performance.md.template")

_SHOWN = 8
"""Parts of a profile that have a row of their own."""

_NAMES = (OURS, PLAIN, COMPILED)


def page(report: Report) -> str:
    """Return the page."""
    return TEMPLATE.read_text().format(
        where=report.where,
        targets=_targets(report),
        figures=_figures(report),
        assets=table(["asset", "MB zipped"], [[name, f"{size:.1f}"] for name, size in report.zipped.items()]),
        others=_others(report),
        profiles="\n\n".join(_profile(each) for each in report.profiles),
        refused_vend=f"{report.refused['vend'].middle:.2f}",
        refusal=table(["a refusal in a storm", "share"], _shown(report.refusal)),
        growth=_growth(report),
        rules=_rules(report.rules),
        costs=_costs(report),
        rounds=report.size.rounds,
        requests=report.size.requests,
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("".join(f"| {cell} " if cell else "| " for cell in line) + "|" for line in lines)


def form(text: str) -> list[str]:
    """Return what every page has: its text without numbers, and the heads of its tables.

    The columns of the growth with rules and grants are those of bench/growth_rules.py, so they are left out.
    """
    text = re.sub(r"(## Growth with rules and grants\n).*?(?=\n## )", r"\1", text, flags=re.DOTALL)
    kept, is_in_table = [], False
    for line in text.splitlines():
        if line.startswith("Measured on"):
            continue
        if not (line.startswith("|") and is_in_table):
            kept.append(re.sub(r"\d[\d.,]*", "#", line))
        is_in_table = line.startswith("|")
    return kept


def _targets(report: Report) -> str:
    rows = [
        [each.name, each.goal, each.measured, each.spread, "met" if each.is_met else "**missed**"]
        for each in judged(report)
    ]
    return table(["target", "goal", "measured", "quartiles", ""], rows)


def _figures(report: Report) -> str:
    rows = []
    for flow in FLOWS:
        found = [report.of(name, flow) for name in _NAMES]
        rows += [
            [f"cold start, {flow}, ms of CPU", *(_spread(Spread.of(each.cold), 0) for each in found)],
            [f"request, {flow}, ms of CPU", *(_spread(Spread.of(each.warm), 2) for each in found)],
            [f"AWS calls, {flow}", *(_calls(each) for each in found)],
            [f"memory, {flow}, MB", *(f"{Spread.of(each.memory).middle:.0f}" for each in found)],
            [f"cold start, {flow}, ratio", *(_ratio(each.cold, found[0].cold) for each in found)],
            [f"request, {flow}, ratio", *(_ratio(each.warm, found[0].warm) for each in found)],
        ]
    return table(["", *_NAMES], rows)


def _spread(spread: Spread, digits: int) -> str:
    return f"{spread.middle:.{digits}f} ({spread.low:.{digits}f} to {spread.high:.{digits}f})"


def _calls(measured: Measured) -> str:
    calls = measured.usual_calls
    return f"{calls.total()}: {', '.join(sorted(calls.elements()))}"


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> str:
    """Return the CPU of the product as a ratio to that of another variant."""
    return "" if theirs is ours else _spread(speed.ratios(ours, theirs), 2)


def _others(report: Report) -> str:
    rows = [[f"{each.name} {each.version}", _spread(each.cpu, 2), "", "0"] for each in report.others]
    once = others.SERVERLESS_CA
    rows.append(["serverless-ca, measured once", once["request"], once["cold"], once["calls"]])
    return table(["", "ms of CPU a certificate", "cold start", "AWS calls"], rows)


def _profile(profile: Profile) -> str:
    share = f"The imports before the first request take {profile.imports:.0%} of a cold start."
    return "\n\n".join(
        [
            f"### {profile.flow}",
            share,
            table(["imports", "share", "warm request", "share"], _beside(profile.imported, profile.warm)),
        ]
    )


def _beside(one: list[Part], other: list[Part]) -> list[list[str]]:
    columns = [_shown(one), _shown(other)]
    return [[*left, *right] for left, right in zip(*columns, strict=True)]


def _shown(parts: list[Part]) -> list[list[str]]:
    rest = ("the rest", sum(share for _, share in parts[_SHOWN:]))
    found = [[name, f"{share:.0%}"] for name, share in [*parts[:_SHOWN], rest]]
    return [*found, *[["", ""]] * (_SHOWN + 1 - len(found))]


def _growth(report: Report) -> str:
    rows = [
        [
            each.operation,
            f"{each.devices:,}",
            f"{each.cpu:.1f}" if each.cpu < 100 else f"{each.cpu:,.0f}",
            f"{each.cpu / each.devices * 1000:.2f}",
            f"{each.calls:,}",
            "" if each.measured == each.devices else f"calculated from {each.measured:,}",
        ]
        for each in report.grown
    ]
    return table(["operation", "devices", "s of CPU", "ms a device", "AWS calls", ""], rows)


def _rules(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "This run did not measure it."
    return table(
        [*rows[0]],
        [[f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()] for row in rows],
    )


def _costs(report: Report) -> str:
    rows = [
        [title, column, f"{dollars} $"]
        for title, columns in report.costs.items()
        for column, dollars in columns.items()
    ]
    return table(["", "", "in all"], rows)
