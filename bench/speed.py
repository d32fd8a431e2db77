"""Measures the product and the reference in one interleaved run: CPU, AWS calls and memory.

Each round starts a fresh process of every variant and sends it a cold request. Then the processes of the
round answer warm requests in turn. CPU is counted, because other programs change the wall clock far more.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from statistics import mean, median, quantiles
from typing import IO, Any, cast

from bench.world import Event, World

DRIVER = Path(__file__).with_name("driver.py")
UNCOUNTED = 5
"""The first warm requests of a process, which still fill caches."""

Flow = str
Answer = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least two values."""
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(low, median(values), high)


@dataclass(frozen=True)
class Variant:
    """A way to answer the requests of a flow: a handler, and the folders that it runs from."""

    name: str
    flow: Flow
    handler: str
    folders: tuple[Path, ...]


@dataclass
class Measured:
    """The use of a variant in each round: CPU in ms, AWS calls of a warm request, memory in MB.

    `cold` is less what an empty interpreter uses; `imported` is the share of it until the handler is
    imported.
    """

    cold: list[float] = field(default_factory=list)
    imported: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    calls: list[Counter[str]] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    @property
    def usual_calls(self) -> Counter[str]:
        """Return the calls of most requests. A process also reads the fleet once a minute."""
        found = Counter(tuple(sorted(each.elements())) for each in self.calls)
        return Counter(found.most_common(1)[0][0])


Results = dict[tuple[str, Flow], Measured]


class Process:
    """A process of one variant."""

    def __init__(
        self, python: str, handler: str, folders: Sequence[Path], environment: dict[str, str]
    ) -> None:
        command = [python, "-I", "-S", "-B", str(DRIVER), handler, *map(str, folders)]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def answer(self, event: Event) -> Answer:
        """Return what the process says of one request."""
        events, answers = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        events.write(json.dumps(event) + "\n")
        events.flush()
        line = answers.readline()
        if not line:
            raise RuntimeError("a measured process has ended; its error is above")
        found: Answer = json.loads(line)
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@contextmanager
def processes(world: World, python: str, variants: Sequence[Variant]) -> Iterator[dict[Variant, Process]]:
    """Start a process of each variant, and end them all."""
    environment = world.environment()
    made = {each: Process(python, each.handler, each.folders, environment) for each in variants}
    try:
        yield made
    finally:
        for each in made.values():
            each.close()


def run(world: World, python: str, variants: Sequence[Variant], rounds: int, requests: int) -> Results:
    """Measure the variants. Raises ValueError if a request is not answered as it must be."""
    results: Results = {(each.name, each.flow): Measured() for each in variants}
    makers = _makers(world)
    for number in range(rounds):
        # Every second round goes the other way round, so that no variant always follows the same one.
        ordered = list(variants)[:: -1 if number % 2 else 1]
        empty = _empty(world, python)
        with processes(world, python, ordered) as started:
            for variant, process in started.items():
                found, _ = _ask(world, process, makers[variant.flow])
                cold, measured = found["cpu"] - empty, results[variant.name, variant.flow]
                measured.cold.append(cold * 1000)
                measured.imported.append((found["imported"] - empty) / cold)
            _warm(world, started, makers, requests, results)
    return results


def _makers(world: World) -> dict[Flow, Callable[[], Event]]:
    """Return what makes the event of a new device in each flow."""
    return {"enroll": world.enrollment, "vend": world.credentials}


def _warm(
    world: World,
    started: dict[Variant, Process],
    makers: dict[Flow, Callable[[], Event]],
    requests: int,
    results: Results,
) -> None:
    cpu: dict[Variant, list[float]] = {each: [] for each in started}
    for number in range(UNCOUNTED + requests):
        for variant, process in started.items():
            found, calls = _ask(world, process, makers[variant.flow])
            if number >= UNCOUNTED:
                cpu[variant].append(found["cpu"] * 1000)
                results[variant.name, variant.flow].calls.append(calls)
                last = results[variant.name, variant.flow]
                if number == UNCOUNTED + requests - 1:
                    last.memory.append(found["memory"])
    for variant, values in cpu.items():
        results[variant.name, variant.flow].warm.append(median(values))


def refusals(world: World, python: str, variant: Variant, rounds: int, requests: int) -> Spread:
    """Return the ratio of the CPU of a refusal in a storm to that of a success, in each round.

    A process serves `requests` devices and then refuses fifty times as many, because the group's minute is
    full or STS throttles. The means count, so the refusals include those that the process learns the limit
    by, and the calls for blocks of retry slots.
    """
    found, make = [], _makers(world)[variant.flow]
    for _ in range(rounds):
        with processes(world, python, [variant]) as started:
            process = started[variant]
            served = [_ask(world, process, make)[0]["cpu"] for _ in range(UNCOUNTED + requests)]
            world.aws.is_full = True
            refused = [process.answer(make()) for _ in range(50 * requests)]
            world.aws.is_full = False
        statuses = {each["answer"]["statusCode"] for each in refused}
        if statuses - {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            raise ValueError(f"a request beyond the limit was answered {statuses}")
        found.append(mean(each["cpu"] for each in refused) / mean(served[UNCOUNTED:]))
    return Spread.of(found)


def _empty(world: World, python: str) -> float:
    """Return the CPU seconds of an interpreter that answers nothing."""
    process = Process(python, "none", (), world.environment())
    try:
        cpu: float = process.answer({})["cpu"]
        return cpu
    finally:
        process.close()


def _ask(world: World, process: Process, make: Callable[[], Event]) -> tuple[Answer, Counter[str]]:
    """Return a process's answer to a new request, and the AWS calls that it made."""
    event = make()
    world.aws.calls.clear()
    found = process.answer(event)
    answer = found["answer"]
    if answer["statusCode"] not in (200, 201):
        raise ValueError(f"a request was refused: {answer['body']}")
    return found, Counter(world.aws.calls)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of the ratio in each round."""
    return Spread.of([one / other for one, other in zip(ours, theirs, strict=True)])
