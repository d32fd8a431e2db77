"""Finds where the CPU of the product goes: what a cold start imports, and what a warm request runs."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.speed import DRIVER, UNCOUNTED, Variant
from bench.world import World

_IMPORT = re.compile(r"import time: +(\d+) \| +(\d+) \| +([\w.]+)")
_STANDARD = "the standard library"
_SOCKETS = "TLS and sockets"
_BUILT_IN = "other built-in functions"

Part = tuple[str, float]
"""A part of the whole, and its share from 0 to 1."""


@dataclass(frozen=True)
class Profile:
    """The shares of packages in the CPU of a flow.

    `imports` is the share of a cold start's CPU until the handler is imported. `imported` are the shares of
    packages in the time of all imports, and `warm` those in a warm request, the largest first.
    """

    flow: str
    imports: float
    imported: list[Part]
    warm: list[Part]


def profile(
    world: World, python: str, variant: Variant, imports: float, rounds: int, requests: int
) -> Profile:
    """Profile the variant. `imports` is the share of a cold start until the handler is imported."""
    runs = [_imports(world, python, variant) for _ in range(rounds)]
    imported = Counter({name: median(run[name] for run in runs) for name in set().union(*runs)})
    warm = _warm(world, python, variant, requests)
    return Profile(variant.flow, imports, shares(imported), shares(warm))


def refusal(world: World, python: str, variant: Variant, requests: int) -> list[Part]:
    """Return the shares of packages in the CPU of refusals in a storm."""
    world.aws.is_full = True
    try:
        return shares(_warm(world, python, variant, requests))
    finally:
        world.aws.is_full = False


def shares(parts: Counter[str]) -> list[Part]:
    """Return the shares of the parts, the largest first."""
    whole = sum(parts.values())
    return [(name, value / whole) for name, value in parts.most_common()]


def _imports(world: World, python: str, variant: Variant) -> Counter[str]:
    """Return the microseconds of the imports of each package, in a fresh process."""
    command = [python, "-I", "-S", "-B", "-X", "importtime", str(DRIVER), variant.handler]
    event = world.enrollment() if variant.flow == "enroll" else world.credentials()
    done = subprocess.run(
        [*command, *map(str, variant.folders)],
        input=json.dumps(event) + "\n",
        env=world.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    found: Counter[str] = Counter()
    packages = _packages(variant.folders)
    for line in done.stderr.splitlines():
        if match := _IMPORT.match(line):
            own, _, name = match.groups()
            top = name.partition(".")[0]
            found[top if top in packages else _STANDARD] += int(own)
    return found


def _packages(folders: Sequence[Path]) -> set[str]:
    return {file.name.partition(".")[0] for folder in folders for file in folder.iterdir()}


def _warm(world: World, python: str, variant: Variant, requests: int) -> Counter[str]:
    """Return the seconds of warm requests in each package, as cProfile counts a function's own time."""
    make = world.enrollment if variant.flow == "enroll" else world.credentials
    command = [python, "-I", "-S", "-B", str(DRIVER), "--profile", variant.handler]
    # The profile also counts the first warm requests, which is why there are many.
    events = "".join(json.dumps(make()) + "\n" for _ in range(1 + UNCOUNTED + requests))
    done = subprocess.run(
        [*command, *map(str, variant.folders)],
        input=events,
        env=world.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: Counter[str] = Counter()
    for file, _, function, _, own in json.loads(done.stdout.splitlines()[-1])["profile"]:
        found[_place(file, function, variant.folders)] += own
    return found


def _place(file: str, function: str, folders: Sequence[Path]) -> str:
    if file.startswith(("~", "<")):
        if re.search(r"_ssl|_socket|select", function):
            return _SOCKETS
        return "cryptography" if "_rust" in function else _BUILT_IN
    for folder in folders:
        if Path(file).is_relative_to(folder):
            parts = Path(file).relative_to(folder).parts
            return ".".join(parts[:2]) if parts[0] == "firstboot" else parts[0].removesuffix(".py")
    return _STANDARD
