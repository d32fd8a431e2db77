"""Count the devices that a fleet definition changes in AWS IoT, and follow the sweep that changes them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from console import excess, output
from console.cloud import Operate, Unreachable
from firstboot.domain.fleet import Fleet

_EVERY = 2
"""Seconds between two queries of the progress."""

_STILL = 90
"""Queries without any progress after which the command stops waiting. A sweep begins within a minute."""


def plan(operate: Operate, fleet: Fleet) -> output.Record:
    """Return how many devices there are (`scanned`), and of how many the policies in AWS IoT would change
    (`touched`). A terminal shows both numbers as they grow. `excess` counts those with too many grants.
    `groups` and `anchors` have the numbers of devices by group and by trust anchor. `ways` has them by group
    and by the way of their enrollment.

    Raises Refused, Unreachable.
    """
    by = {"groups": Counter[str](), "anchors": Counter[str]()}
    counts: output.Record = {"scanned": 0, "touched": 0, "excess": excess.none(), **by, "ways": {}}
    output.gauge(_counting(operate, fleet, counts))
    return counts


def _counting(operate: Operate, fleet: Fleet, counts: output.Record) -> Iterator[tuple[int, str]]:
    for page in operate.plan(fleet):
        for name in ("scanned", "touched"):
            counts[name] += page[name]
        # The stack may still have a version that does not count them.
        excess.add(counts["excess"], page.get("excess", {}))
        for name in ("groups", "anchors"):
            counts[name].update(page.get(name, {}))
        for group, numbers in page.get("ways", {}).items():
            counts["ways"].setdefault(group, Counter()).update(numbers)
        yield counts["scanned"], f"device records read, {counts['touched']:,} to change"


def follow(operate: Operate, total: int) -> output.Record:
    """Wait until the sweep has read every device record, and return the last answer of `fleet.progress`.

    `total` is about how many records there are.
    Raises Refused, Unreachable.
    """
    seen: list[output.Record] = []
    try:
        output.gauge(_following(operate, seen), total)
    except KeyboardInterrupt:
        output.note("the fleet is published and the sweep continues; `fleet progress` shows how far it is")
        raise
    return seen[-1]


def _following(operate: Operate, seen: list[output.Record]) -> Iterator[tuple[int, str]]:
    still = 0
    while still < _STILL:
        state = operate.call("fleet.progress")
        still = still + 1 if seen[-1:] == [state] else 0
        seen.append(state)
        yield (state["scanned"] if state["inForce"] else 0), _words(state)
        if _is_through(state):
            return
        time.sleep(_EVERY)
    raise Unreachable(
        "the fleet is published, but the sweep does not progress; the log of `register.sweep` says why"
    )


def _is_through(state: output.Record) -> bool:
    return bool(state["inForce"] and state["finished"])


def _words(state: output.Record) -> str:
    if not state["inForce"]:
        return "waiting for the sweep to begin"
    return f"device records read, {state['touched']:,} to change, {_backlog(state)}"


def _backlog(state: output.Record) -> str:
    seconds = state["backlog"]
    return f"about {seconds:,} s until AWS IoT has been reconciled" if seconds else "AWS IoT has no backlog"


def planned(devices: output.Record) -> str:
    """Describe a plan in words."""
    return f"policies of {devices['touched']:,} of {devices['scanned']:,} devices change in AWS IoT"


def describe(state: output.Record) -> list[str]:
    """Describe an answer of `fleet.progress` in words."""
    if not state["inForce"]:
        return ["the sweep for the fleet in force has read no device record yet", _backlog(state)]
    begun = "all devices" if state["finished"] else "so far"
    since = f"began {state['startedAt']}" + (f", ended {state['finishedAt']}" if state["finished"] else "")
    counts = f"{begun}: {state['scanned']:,} read, {state['touched']:,} to change ({since})"
    return [counts, _backlog(state)]
