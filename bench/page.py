"""Writes docs/performance.md from a report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from bench import others, speed
from bench.profiles import Part, Profile
from bench.report import COMPILED, FLOWS, OURS, PLAIN, Report, judged
from bench.speed import Measured, Spread

_SHOWN = 8
"""Parts of a profile that have a row of their own."""

_NAMES = (OURS, PLAIN, COMPILED)


def page(report: Report) -> str:
    """Return the page."""
    return "\n\n".join(
        [
            _INTRODUCTION.format(where=report.where),
            _targets(report),
            _FIGURES,
            _figures(report),
            _ASSETS,
            table(["asset", "MB zipped"], [[name, f"{size:.1f}"] for name, size in report.zipped.items()]),
            _OTHERS,
            _others(report),
            _PROFILES,
            *(_profile(each) for each in report.profiles),
            _GROWTH,
            _growth(report),
            _RULES,
            _rules(report.rules),
            _COSTS,
            _costs(report),
            _END.format(rounds=report.size.rounds, requests=report.size.requests),
        ]
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def form(text: str) -> list[str]:
    """Return what every page has: its text without numbers, and the heads of its tables."""
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
    share = f"{profile.imports:.0%} of a cold start is the import of modules."
    return "\n\n".join(
        [
            f"### {profile.flow}",
            f"{share} Share of the packages in it, and in a warm request:",
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


def _rules(rows: list[Any]) -> str:
    if not rows:
        return "This run did not measure it."
    plain = [asdict(row) if is_dataclass(row) and not isinstance(row, type) else row for row in rows]
    if isinstance(plain[0], dict):
        return table([*plain[0]], [[_cell(value) for value in row.values()] for row in plain])
    return table([_cell(value) for value in plain[0]], [[_cell(value) for value in row] for row in plain[1:]])


def _cell(value: object) -> str:
    return (
        f"{value:,.2f}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


def _costs(report: Report) -> str:
    rows = [
        [title, column, f"{dollars} $"]
        for title, columns in report.costs.items()
        for column, dollars in columns.items()
    ]
    return table(["", "", "in all"], rows)


_INTRODUCTION = """# Performance

`make bench` measures the shipped Lambdas beside a plain implementation of the same flows, and writes this page.
Measured on {where}.

## The targets

A ratio is the CPU of Firstboot divided by that of the reference, in each round of one interleaved run. The median of
the rounds counts."""

_FIGURES = """## The figures

The reference is [bench/plain](../bench/plain): Powertools, boto3 and cryptography, as a good engineer would write the
two flows in a day. It has one conditional write where Firstboot has a transaction, and a table of grants where
Firstboot has rules. Its boto3 has bytecode, as if it were Lambda's own; its other packages have none, as in an archive
of the usual tools. The last column is the reference with bytecode everywhere. CPU is that of the user and the kernel;
a cold start is what lies between the start of the interpreter and the end of the first request, less what an empty
interpreter uses. The quartiles of the rounds are in brackets, and each `ratio` is Firstboot's CPU divided by the
column's."""

_ASSETS = """The assets for Lambda, on arm64:"""

_OTHERS = """## Other CAs

cfssl and OpenBao sign with a key in their own memory and keep no state that survives, so their CPU for a certificate is
a floor and no alternative. It is that of their process; the device's CSR comes over HTTP on loopback. A program that
could not be installed has no row. step-ca is in no registry that `make bench` uses. The figures of
[serverless-ca](https://github.com/serverless-ca/terraform-aws-ca) are times on a clock: they were measured once, on
2026-11-27, on a machine of the same kind."""

_PROFILES = """## Where the rest is

Imports are timed by `python -X importtime`, and requests by cProfile, which makes functions of Python look slower than
functions of C. A package's share is that of its own code, without what it calls in others."""

_GROWTH = """## Growth with devices

`list`, `expect` and `import` are the operator's calls, page by page; `sweep` is a daily sweep that finds nothing to
change; `restore` is `console registry restore` of a table that has lost every record. The CPU includes the AWS client's,
but no AWS service's. An operation of which each page costs the same was run up to some number of devices, from which
the CPU of more is calculated. On AWS, AWS IoT's quotas set the pace of an import: [deploy.md](deploy.md)."""

_RULES = """## Growth with rules and grants"""

_COSTS = """## What a million costs

These are the sums of [deploy.md](deploy.md#what-it-costs), in dollars, where each row is listed. Tests hold the counts
to the code."""

_END = """## How to rerun

    make bench            # about 5 minutes on two idle cores
    make bench QUICK=1    # about 1 minute; it prints the page and does not write it

The run needs the package registries, for boto3 and the assets. Lambda's Python 3.13 is taken from the PATH, pyenv or
uv; without one the Lambdas run on this machine's Python. There were {rounds} rounds, each with a cold start of every
variant and {requests} warm requests of each in turn. Every request is that of a new device, made before it is timed.
AWS is a server on loopback, in another process, over TLS, with canned answers of the size of AWS's own; KMS's
signatures are real. [0078](decisions/0078-how-performance-is-measured.md) has the reasons.

## What the figures do not say

- They were not measured on AWS and not on arm64. There a cold start also loads and unpacks the archive, starts a
  virtual machine, and has only the share of a processor that the function's memory buys.
- CPU is not latency: a request also waits for three or two answers of AWS, which no code here makes faster.
- The servers of this run answer at once and without errors. Retries, throttles and truncated answers are tested
  elsewhere ([faults.md](faults.md)).
- A ratio holds for these versions of the packages. A newer boto3 or Powertools changes the reference.
- Growth says nothing about DynamoDB's and AWS IoT's limits. [operations.md](operations.md) has their pace.
"""
