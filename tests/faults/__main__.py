"""Write the page of the fault matrix, docs/faults.md, from the results of `make faults`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.flows import ACTORS, FLOWS
from tests.faults.matrix import ALLOWED, Allowed
from tests.faults.test_faults import RESULTS, SEED
from tests.faults.wire import Kind

PAGE = Path("docs/faults.md")

KINDS = {
    Kind.THROTTLE: "every attempt of the call is refused with the service's code for too many requests",
    Kind.CONNECTION: "the connection is closed before anything happens",
    Kind.FAILURE: "every attempt of the call is answered with the service's 500",
    Kind.DENIED: "every attempt of the call is refused as without the right",
    Kind.CONFLICT: "every attempt of the call is refused with the operation's code for a conflict",
    Kind.LOST_ONCE: "the call takes effect without an answer, and botocore repeats it",
    Kind.LOST: "every attempt takes effect, and none is answered",
    Kind.CUT_OFF: "every attempt takes effect, and its answer ends in the middle",
    Kind.TIMEOUT: "every attempt takes effect, and no byte comes until the client's time-out",
    Kind.CRASH_BEFORE: "the function's process dies instead of the call, and AWS delivers the event again",
    Kind.CRASH_AFTER: "the function's process dies after the call's effect",
    Kind.INTERLEAVED: "another process handles the same event between the call and its answer",
    Kind.DUPLICATE: "an invocation's event is delivered a second time after it",
    Kind.REVOKE: "an operator revokes the device between the call and its answer",
    Kind.DELETE: "an operator deletes the device there",
    Kind.RENEW: "the device renews and logs in there",
    Kind.SET: "an operator sets an attribute there that takes a grant",
    Kind.APPLY: "an operator publishes another fleet definition there",
}


def main() -> int:
    """Write the page and print the numbers; return 1 if a cell failed or the results are not complete."""
    results = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))]
    flows = {result["flow"]: result for result in results}
    run, failed = Counter[str](), sum(result["failed"] for result in results)
    for result in results:
        run.update(result["run"])
    PAGE.write_text(_page(flows, run, failed))
    known = sum(flow["cells"] for flow in flows.values())
    sys.stdout.write(f"{known} cells, {run.total()} run, {failed} failed; see {PAGE}\n")
    return int(bool(failed) or flows.keys() != FLOWS.keys() or run.total() != known)


_HEAD = """\
# The fault matrix

<!-- `make faults` writes this page. -->

For each flow, each of its AWS calls and each kind of fault, `tests/faults` runs the flow to its end, with the
clients' own retries and AWS's redeliveries. Then the rows, the objects, AWS IoT's registry, the queues and
the counters must be those of the undisturbed run. After a change by another actor between a call and its
answer they must be those of a run in which the change comes between two invocations. The calls are those
that the undisturbed run makes, so a new call is a new cell.
[0067](decisions/0067-a-fault-matrix-at-the-wire.md) says how it works.

"""


def _page(flows: dict[str, Any], run: Counter[str], failed: int) -> str:
    known, impossible = (sum(flow[name] for flow in flows.values()) for name in ("cells", "impossible"))
    lines = [
        f"The matrix has {known} cells. The last run had {run.total()} of them, of which {failed} failed.",
        f"`make test` runs one of each flow and kind, which the seed {SEED} chooses.",
        *_table(
            "Flows", ["flow", "AWS calls", "invocations", "cells", "left out"], map(_row, flows.values())
        ),
        *_table("Kinds of faults", ["kind", "what happens", "cells run"], map(partial(_kind, run), Kind)),
        *("", "## What is left out", "", f"- {impossible} cells: the operation has no code for a conflict."),
        *(f"- {text}" for text in [*_without(), *_LEFT_OUT]),
        *_table(
            "Differences that are right", ["kinds", "flows", "where", "reason"], map(_difference, ALLOWED)
        ),
    ]
    return _HEAD + "\n".join(lines) + "\n"


def _table(title: str, heads: list[str], rows: Iterable[list[object]]) -> list[str]:
    lines: list[list[object]] = [[*heads], ["---"] * len(heads), *rows]
    return ["", f"## {title}", "", *(f"| {' | '.join(str(cell) for cell in each)} |" for each in lines)]


def _row(flow: dict[str, Any]) -> list[object]:
    return [flow[name] for name in ("flow", "calls", "invocations", "cells", "impossible")]


def _kind(run: Counter[str], kind: Kind) -> list[object]:
    return [kind.value, KINDS[kind], run[kind.value]]


def _difference(each: Allowed) -> list[object]:
    flows = "all" if each.flows == ".*" else each.flows
    where = each.path.replace("|", ", ")
    return [_kinds(each.kinds), flows, f"`{where}`", each.reason]


_LEFT_OUT = [
    "The console's `registry restore`, which is no function (`tests/aws/test_console_restore.py`).",
    "AWS IoT's delayed detachment, which moto lacks: `make interleavings` has it.",
    "Two threads in one invocation: a function handles one event at a time.",
]


def _without() -> list[str]:
    """Return the actors that can't act in a flow, or change nothing there."""
    missing = {kind: [name for name, flow in FLOWS.items() if kind not in flow.actors] for kind in ACTORS}
    return [
        f"{kind.value} during {'; '.join(names)}: the actor can't act there, or changes nothing there."
        for kind, names in missing.items()
        if names
    ]


def _kinds(kinds: frozenset[Kind]) -> str:
    return "every fault" if kinds == frozenset(Kind) - ACTORS.keys() else ", ".join(sorted(kinds))


if __name__ == "__main__":
    raise SystemExit(main())
