"""Take the steps in their order. A step that fails ends only those that come after it by name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from console.cloud import Refused as ConsoleRefused
from console.cloud import Unreachable
from device.refusal import Refused
from verify.step import Failed, Lacking, Measurement, Outcome, Result, Step

if TYPE_CHECKING:
    from verify.bench import Bench

_FAULTS = (Refused, ConsoleRefused, Unreachable, BotoCoreError, ClientError, OSError, ValueError, LookupError)
"""What the calls of a step raise. All of it is a failure of the step, and none of it ends the walk."""


def walk(steps: Iterable[Step], bench: Bench) -> Iterator[Result]:
    """Yield the result of each step, as soon as it is there."""
    outcomes: dict[str, Outcome] = {}
    for step in steps:
        reason = _reason_to_skip(step, bench, outcomes)
        result = Result(step.name, Outcome.SKIPPED, reason=reason) if reason else _taken(step, bench)
        outcomes[step.name] = result.outcome
        yield result


def _reason_to_skip(step: Step, bench: Bench, outcomes: dict[str, Outcome]) -> str:
    """Return why the step can't be taken, or nothing."""
    if missing := sorted(bench.missing & step.needs):
        return f"it needs {'; '.join(missing)}"
    before = [name for name in step.after if outcomes.get(name) is not Outcome.PASSED]
    return f'the step "{before[0]}" did not pass' if before else ""


def _taken(step: Step, bench: Bench) -> Result:
    begun, found, outcome, reason = time.monotonic(), list[Measurement](), Outcome.PASSED, ""
    try:
        found.extend(step.run(bench))
    except Lacking as lacking:
        outcome, reason = Outcome.SKIPPED, f"it needs {lacking}"
    except Failed as failed:
        outcome, reason = Outcome.FAILED, str(failed)
    except _FAULTS as fault:
        outcome, reason = Outcome.FAILED, described(fault)
    return Result(step.name, outcome, time.monotonic() - begun, tuple(found), reason)


def described(fault: Exception) -> str:
    """Return what a call raised, with the code of a refusal."""
    code = getattr(fault, "code", None) or getattr(fault, "problem", {}).get("code")
    return f"{type(fault).__name__}{f' ({code})' if code else ''}: {fault}"
