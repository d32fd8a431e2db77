"""The cells of the matrix, and what a cell must show.

A cell is a flow, a kind of fault and the number of an AWS call (of an invocation, for a duplicate delivery).
The numbers come from the calls of the undisturbed run, so that a new call is a new cell. After a fault the end
state must be that of the undisturbed run. After a change by another actor in the middle of an invocation it
must be that of a run in which the change is made between two invocations.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.faults import clients
from tests.faults.answers import _CONFLICTS
from tests.faults.clients import Board
from tests.faults.flows import ACTORS, FLOWS, NAME, Flow, Stage
from tests.faults.state import State, difference, state
from tests.faults.wire import Fault, Kind
from tests.faults.world import World, world

SHORT_SECONDS = 0.5
"""How long a client waits in a cell in which no answer comes."""


@dataclass(frozen=True)
class Allowed:
    """A difference from the undisturbed end state that is right, and why."""

    kinds: frozenset[Kind]
    flows: str
    path: str
    reason: str

    def covers(self, flow: str, kind: Kind, line: str) -> bool:
        """Return whether a difference of a cell is this one."""
        return kind in self.kinds and bool(re.fullmatch(self.flows, flow)) and bool(re.match(self.path, line))


ALLOWED: list[Allowed] = []


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix."""

    flow: str
    kind: Kind
    number: int


@dataclass(frozen=True)
class Run:
    """What a run ended in, with its AWS calls and the number of its invocations."""

    state: State
    calls: tuple[str, ...]
    invocations: int
    reached: bool


@contextlib.contextmanager
def _staged(flow: Flow, read_timeout: float) -> Iterator[Stage]:
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        world(Path(folder), read_timeout) as made,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(clients.name_keys(), clients.new_keys(made))
        yield Stage(made, Board(made, NAME, Path(folder) / "device", flow.way))


def run(
    flow: Flow, fault: Fault | None = None, disturb: Callable[[Stage], None] = lambda _: None, after: bool = False
) -> Run:
    """Run a flow to its end; `disturb` prepares another disturbance, or is made after it."""
    with _staged(flow, SHORT_SECONDS if fault and fault.kind is Kind.TIMEOUT else 60.0) as stage:
        made = stage.world
        flow.prepare(stage)
        made.wire.begin(fault)
        if not after:
            disturb(stage)
        made.wire.watching = True
        flow.act(stage)
        made.wire.watching = False
        if after:
            disturb(stage)
        made.pump()
        flow.settle(stage)
        reached = fault is None or fault.reached
        return Run(state(made), tuple(made.wire.calls), made.invocations, reached)


@cache
def undisturbed(name: str) -> Run:
    """Return the undisturbed run of a flow."""
    return run(FLOWS[name])


@cache
def between(name: str, kind: Kind) -> list[State]:
    """Return the end states with an actor's change before, between and after the invocations of a flow."""
    act = ACTORS[kind]

    def at(index: int) -> Callable[[Stage], None]:
        def disturb(stage: Stage) -> None:
            def change(number: int) -> None:
                if number == index:
                    _unwatched(stage.world, lambda: act(stage))

            stage.world.between = change

        return disturb

    runs = [run(FLOWS[name], disturb=at(index)) for index in range(undisturbed(name).invocations)]
    runs.append(run(FLOWS[name], disturb=lambda stage: act(stage) and None, after=True))
    return [each.state for each in runs]


def _unwatched(made: World, act: Callable[[], object]) -> None:
    before, made.wire.watching = made.wire.watching, False
    try:
        act()
    finally:
        made.wire.watching = before


def cells(name: str) -> list[Cell]:
    """Return the cells of a flow, those with no such fault left out."""
    known, flow = undisturbed(name), FLOWS[name]
    found = []
    for kind in Kind:
        if kind in ACTORS and kind not in flow.actors:
            continue
        numbers = range(known.invocations) if kind is Kind.DUPLICATE else range(len(known.calls))
        found += [Cell(name, kind, each) for each in numbers if not (_has_none(kind, known.calls[each]))]
    return found


def _has_none(kind: Kind, call: str) -> bool:
    return kind is Kind.CONFLICT and call not in _CONFLICTS


def problems(cell: Cell) -> list[str]:
    """Run a cell, and return what is wrong with its end state."""
    flow, kind, number = FLOWS[cell.flow], cell.kind, cell.number
    if kind in ACTORS or kind is Kind.INTERLEAVED:
        done = run(flow, disturb=lambda stage: _meanwhile(stage, kind, number))
    elif kind is Kind.DUPLICATE:
        done = run(flow, disturb=lambda stage: setattr(stage.world, "redelivers", number))
    else:
        done = run(flow, Fault(kind, number))
    if not done.reached:
        return ["the call was not made"]
    expected = between(cell.flow, kind) if kind in ACTORS else [undisturbed(cell.flow).state]
    if done.state in expected:
        return []
    found = min((difference(each, done.state) for each in expected), key=len)
    return [line for line in found if not any(each.covers(cell.flow, kind, line) for each in ALLOWED)]


def _meanwhile(stage: Stage, kind: Kind, number: int) -> None:
    made = stage.world

    def after(index: int) -> None:
        if index == number:
            made.wire.after = None
            if kind in ACTORS:
                ACTORS[kind](stage)
            elif made.again:
                made.again()

    made.wire.after = after
