"""Runs every measurement of `make bench`."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench import assets, growth, others, profiles, speed
from bench.report import COMPILED, FLOWS, OURS, PLAIN, Report, Size, costs
from bench.speed import Variant
from bench.world import ROOT, World


def measure(folder: Path, size: Size, say: Callable[[str], None]) -> Report:
    """Run every measurement. `say` is told what begins."""
    world, python = World(folder), assets.interpreter()
    where = _where(python)
    say("building the assets")
    variants, product = variants_of(world, python)
    zipped = assets.sizes(world.folder / "lambda", world.fleet)
    say(f"{size.rounds} rounds of {len(variants)} cold starts and {size.requests} requests each")
    results = speed.run(world, python, variants, size.rounds, size.requests)
    say("refusals in a storm")
    ours = {each.flow: each for each in variants if each.name == OURS}
    refused = {
        flow: speed.refusals(world, python, each, size.rounds, size.requests) for flow, each in ours.items()
    }
    say("profiles")
    found = [
        profiles.profile(
            world, python, each, median(results[OURS, each.flow].imported), size.profiles, size.requests
        )
        for each in ours.values()
    ]
    refusal = profiles.refusal(world, python, ours["enroll"], size.requests)
    say("other CAs")
    compared = others.measure(world, size.profiles, 200)
    say(f"growth up to {size.devices[-1]:,} devices")
    grown = growth.measure(world, python, product, size.devices)
    return Report(
        where=where,
        size=size,
        results=results,
        refused=refused,
        zipped=zipped,
        others=compared,
        profiles=found,
        refusal=refusal,
        costs=costs(),
        grown=grown,
        rules=growth.rules() if size.has_rules else [],
    )


def variants_of(world: World, python: str) -> tuple[list[Variant], dict[str, Path]]:
    """Build the variants for an interpreter; return them, and the folder of each Lambda file."""
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
