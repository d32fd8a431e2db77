"""The cells of the matrix, and how a cell is judged.

A cell is a flow, a kind of fault and the number of an AWS call (of an invocation, for a duplicate delivery).
The numbers come from the calls of the undisturbed run, so that a new call is a new cell. After a fault the
end state must be that of the undisturbed run. After a change by another actor in the middle of an invocation
it must be that of a run in which the change is made between two invocations.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from tests.faults.answers import CONFLICTS
from tests.faults.clients import Board
from tests.faults.flows import ACTORS, FLOWS, KEYS, NAME, Stage
from tests.faults.state import State, difference, state
from tests.faults.wire import Fault, Kind, Wire
from tests.faults.world import LONG_SECONDS, device_key, reconnect, wait_for_answers, world

SHORT_SECONDS = 0.5
"""How long a client waits for an answer that does not come."""


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


_FAULTS = frozenset(Kind) - ACTORS.keys()

ALLOWED = [
    Allowed(
        _FAULTS,
        ".*",
        "/rows/PACE#iot/backlogUntil",
        "The note of how long orders wait is advice to devices. A process that can't write it goes on, and "
        "the next one writes it.",
    ),
    Allowed(
        frozenset({Kind.THROTTLE}),
        ".*",
        "/rows/RETRY#",
        "A device whose request AWS throttles gets a retry slot, and a lane's row is only a number.",
    ),
    Allowed(
        frozenset({Kind.RENEW}),
        "reconcile .*",
        r"/aws iot/certificates/[^:]*: None became \['INACTIVE', \[\]\]",
        "A certificate that is superseded while it is registered stays in AWS IoT, INACTIVE and without "
        "policies. One that is superseded before is not registered.",
    ),
    Allowed(
        frozenset({Kind.REVOKE}),
        "reconcile a new device",
        r"/aws iot/certificates/[^:]*: \['REVOKED', \[\]\] became None"
        r"|/aws iot/things/gw-1/principals: \[.*\] became \[\]",
        "A certificate that a process is about to activate while its device is revoked is deleted, so that "
        "no process can activate it later (0043). One that is active before becomes REVOKED.",
    ),
    Allowed(
        frozenset({Kind.REVOKE, Kind.DELETE, Kind.SET, Kind.APPLY}),
        "session, Roles Anywhere",
        "/rows/PROOF#",
        "A request is spent before its device is refused, so a change between the two leaves its row, which "
        "ends by itself.",
    ),
    Allowed(
        frozenset({Kind.LOST_ONCE, Kind.LOST, Kind.CUT_OFF, Kind.TIMEOUT, Kind.INTERLEAVED}),
        "deployment",
        "/objects/truststore/",
        "The truststore is put without a condition, so a repeated put makes a version more of the same text.",
    ),
    Allowed(
        frozenset({Kind.CONFLICT}),
        "fleet apply",
        "/objects/fleet/published.json|/outcomes",
        "S3's 409 says that another definition is being written. The operator gets fleet-changed, and "
        "compares again before the next `fleet apply`.",
    ),
]


def _nothing(_: Stage) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix."""

    flow: str
    kind: Kind
    number: int


@dataclass(frozen=True)
class Run:
    """The end of a run, with its AWS calls and the number of its invocations."""

    state: State
    calls: tuple[str, ...]
    invocations: int
    reached: bool


def _hurry(*, is_coming: bool) -> None:
    """Let the clients wait for a short time for the call that gets no answer, and long for all others.

    A busy machine may need longer than that for an answer.
    """
    wait_for_answers(SHORT_SECONDS if is_coming else LONG_SECONDS)


class Prepared:
    """A flow whose preparation is done once. Each run of it is a process of its own that begins there."""

    def __init__(self, name: str, stage: Stage) -> None:
        self.name = name
        self.flow = FLOWS[name]
        self._stage = stage
        self._between: dict[Kind, list[State]] = {}
        self.undisturbed = self.run()

    def run(
        self,
        fault: Fault | None = None,
        before: Callable[[Stage], None] = _nothing,
        after: Callable[[Stage], object] = _nothing,
    ) -> Run:
        """Run the flow to its end, with a fault, or with what is done `before` or `after` its own part."""
        return forked(lambda: self._run(fault, before, after), self._stage.world.wire)

    def _run(
        self, fault: Fault | None, before: Callable[[Stage], None], after: Callable[[Stage], object]
    ) -> Run:
        made = self._stage.world
        reconnect()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            stage = replace(self._stage, board=self._stage.board.copy(Path(folder) / "device"))
            made.wire.begin(fault)
            made.wire.expects_silence = _hurry
            if fault == Fault(Kind.TIMEOUT, 0):
                _hurry(is_coming=True)
            before(stage)
            made.wire.watching = True
            self.flow.act(stage)
            made.wire.watching = False
            after(stage)
            made.pump()
            reached = fault is None or fault.reached
            return Run(state(made), tuple(made.wire.calls), made.invocations, reached)

    def between(self, kind: Kind) -> list[State]:
        """Return the end states with an actor's change before, between and after the flow's invocations."""
        if kind not in self._between:
            act = ACTORS[kind]
            runs = [
                self.run(before=partial(_at, act, index)) for index in range(self.undisturbed.invocations)
            ]
            runs.append(self.run(after=act))
            self._between[kind] = [each.state for each in runs]
        return self._between[kind]

    def cells(self) -> list[Cell]:
        """Return the cells of the flow, without those that have no such fault."""
        return [cell for cell in self.all_cells() if self.is_possible(cell)]

    def all_cells(self) -> list[Cell]:
        """Return each kind of fault at each call."""
        known, found = self.undisturbed, []
        for kind in Kind:
            if kind not in ACTORS or kind in self.flow.actors:
                last = known.invocations if kind is Kind.DUPLICATE else len(known.calls)
                found += [Cell(self.name, kind, each) for each in range(last)]
        return found

    def is_possible(self, cell: Cell) -> bool:
        """Return whether the call of a cell has its kind of fault."""
        return cell.kind is not Kind.CONFLICT or self.undisturbed.calls[cell.number] in CONFLICTS

    def problems(self, cell: Cell) -> list[str]:
        """Run a cell, and return what is wrong with its end state."""
        kind, number = cell.kind, cell.number
        if kind in ACTORS or kind is Kind.INTERLEAVED:
            done = self.run(before=partial(_meanwhile, kind, number))
        elif kind is Kind.DUPLICATE:
            done = self.run(before=lambda stage: setattr(stage.world, "redelivers", number))
        else:
            done = self.run(Fault(kind, number))
        if not done.reached:
            return ["the call was not made"]
        expected = self.between(kind) if kind in ACTORS else [self.undisturbed.state]
        return min((self._unexpected(kind, each, done.state) for each in expected), key=len)

    def _unexpected(self, kind: Kind, expected: State, found: State) -> list[str]:
        lines = difference(expected, found)
        return [line for line in lines if not any(each.covers(self.name, kind, line) for each in ALLOWED)]


@contextlib.contextmanager
def prepared(name: str) -> Iterator[Prepared]:
    """Prepare a flow in an account of its own."""
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as made:
        for number in KEYS:  # they must be the same in all runs
            device_key(number)
        stage = Stage(made, Board(made, NAME, Path(folder) / "device", FLOWS[name].way))
        with contextlib.redirect_stdout(io.StringIO()):
            FLOWS[name].prepare(stage)
        yield Prepared(name, stage)


def forked(work: Callable[[], Run], wire: Wire) -> Run:
    """Return the result of `work` in a copy of this process, which then ends."""
    wire.stop()
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        _work(work, wire, write)
    os.close(write)
    try:
        with os.fdopen(read, "rb") as pipe:
            result = pickle.loads(pipe.read() or _NOTHING)  # noqa: S301 - our own process wrote it
    finally:
        os.waitpid(process, 0)
        wire.start()
    if not isinstance(result, Run):
        raise RuntimeError(result)  # noqa: TRY004 - it is the traceback of the other process
    return result


_NOTHING = pickle.dumps("the process died")


def _work(work: Callable[[], Run], wire: Wire, write: int) -> NoReturn:
    """Write the result of `work`, or its traceback, to the pipe, and end the process."""
    try:
        wire.start()
        result: object = work()
    except BaseException:  # noqa: BLE001 - the parent raises it
        result = traceback.format_exc()
    with os.fdopen(write, "wb") as pipe:
        pipe.write(pickle.dumps(result))
    os._exit(0)


def _at(act: Callable[[Stage], object], index: int, stage: Stage) -> None:
    """Let an actor act before the invocation with this number."""
    made = stage.world

    def change(number: int) -> None:
        if number == index:
            made.wire.watching = False
            act(stage)
            made.wire.watching = True

    made.between = change


def _meanwhile(kind: Kind, number: int, stage: Stage) -> None:
    """Let an actor act, or deliver the event again, between a call and its answer."""
    made = stage.world

    def after(index: int) -> None:
        if index == number:
            made.wire.after = None
            if kind in ACTORS:
                ACTORS[kind](stage)
            elif made.again:
                made.again()

    made.wire.after = after
