"""Measures what docs/performance.md shows, and judges it by the targets."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import assets, growth, others, profiles, speed
from bench.growth import Grown
from bench.others import Other
from bench.profiles import Profile
from bench.speed import Measured, Results, Spread, Variant
from bench.world import ROOT, World
from infra.bundling import bundle
from infra.configuration import Target

OURS, PLAIN, COMPILED = "Firstboot", "reference", "reference, all compiled"
FLOWS = {"enroll": ("exchange", "exchange.http"), "vend": ("vend", "vend.http")}
"""The Lambda file and the handler of each flow."""

MOST_RATIO, MOST_MEMORY, MOST_ZIPPED = 0.7, 80, 12.0
CALLS = {"enroll": 3, "vend": 2}


@dataclass(frozen=True)
class Size:
    """How long a run is: rounds of cold starts, warm requests in a round, repeats of profiles, devices."""

    rounds: int
    requests: int
    profiles: int
    devices: tuple[int, ...]


WHOLE = Size(rounds=12, requests=40, profiles=7, devices=(1_000, 10_000, 100_000))
QUICK = Size(rounds=3, requests=15, profiles=2, devices=(1_000,))


@dataclass(frozen=True)
class Report:
    """What a run found. `zipped` has the MB of each asset, `costs` the dollars of docs/deploy.md."""

    where: str
    size: Size
    results: Results
    zipped: dict[str, float]
    others: list[Other]
    profiles: list[Profile]
    costs: dict[str, dict[str, str]]
    grown: list[Grown]
    rules: list[Any]

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


def measure(folder: Path, size: Size, say: Callable[[str], None]) -> Report:
    """Run every measurement. `say` is told what begins."""
    world, python = World(folder), assets.interpreter()
    say("building the assets")
    variants, product = _variants(world, python)
    zipped = _zipped(world)
    say(f"{size.rounds} rounds of {len(variants)} cold starts and {size.requests} requests each")
    results = speed.run(world, python, variants, size.rounds, size.requests)
    say("profiles")
    found = [
        profiles.profile(
            world, python, each, Spread.of(results[OURS, each.flow].cold).middle, size.profiles, size.requests
        )
        for each in variants
        if each.name == OURS
    ]
    say("other CAs")
    compared = others.measure(world, size.profiles, 200)
    say(f"growth up to {size.devices[-1]:,} devices")
    grown = growth.measure(world, python, product, size.devices)
    return Report(
        where=_where(python),
        size=size,
        results=results,
        zipped=zipped,
        others=compared,
        profiles=found,
        costs=costs(),
        grown=grown,
        rules=growth.rules(),
    )


def _variants(world: World, python: str) -> tuple[list[Variant], dict[str, Path]]:
    product = assets.product(world.folder / "product", python, world.fleet)
    plain = assets.reference(world.folder / "plain", python)
    compiled = assets.compiled(assets.reference(world.folder / "compiled", python), python)
    runtime = assets.runtime(world.folder / "runtime", python)
    for folder in {*product.values(), runtime}:
        assets.trust(folder, world.server_certificate)
    made = []
    for flow, (name, handler) in FLOWS.items():
        reference = f"bench.plain.{name}.handler"
        made += [
            Variant(OURS, flow, handler, (product[name],)),
            Variant(PLAIN, flow, reference, (plain, runtime)),
            Variant(COMPILED, flow, reference, (compiled, runtime)),
        ]
    return made, product


def _zipped(world: World) -> dict[str, float]:
    """Return the MB of each asset for Lambda, zipped."""
    out = world.folder / "lambda"
    out.mkdir()
    bundle(out, Target.LAMBDA, world.fleet)
    return {"all Lambdas": assets.zipped(out) / 1e6}


def judged(report: Report) -> list[Judged]:
    """Return the targets of issue 17, each with what was measured."""
    found = []
    for flow in FLOWS:
        ours, plain = report.of(OURS, flow), report.of(PLAIN, flow)
        found.append(_ratio(f"CPU of a cold start, {flow}", speed.ratios(ours.cold, plain.cold)))
        found.append(_ratio(f"CPU of a request, {flow}", speed.ratios(ours.warm, plain.warm)))
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


def _ratio(name: str, spread: Spread) -> Judged:
    return Judged(
        name,
        f"at most {MOST_RATIO:.2f} x",
        f"{spread.middle:.2f} x",
        f"{spread.low:.2f} to {spread.high:.2f}",
        spread.middle <= MOST_RATIO,
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


def _where(python: str) -> str:
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    processor = model.group(1) if model else platform.processor()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, {version}, {platform.machine()},"
        f" {os.cpu_count()} cores of {processor}"
    )
