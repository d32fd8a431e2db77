"""Write docs/storm.md."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from bench.storm.clients import MARGIN, first_wait
from bench.storm.scenarios import ADMITTED, CONNECTS, Storm
from bench.storm.simulation import Result

FLEETS = ((1_000, 200), (10_000, 1_000), (100_000, 10_000), (1_000_000, 20_000))
"""The fleets of the table, with the `per_minute` that it takes for each."""

_IOT_RATES = (7, 70)
"""`iotRate` by AWS's default quotas, and with ten times as much."""

_TEMPLATE = Path(__file__).with_suffix(".md")


def text(
    simulated: Iterable[tuple[Storm, Result]],
    logins: Iterable[tuple[str, Result]],
    compared: Iterable[tuple[str, Storm, Result, Result]],
    moment: datetime,
) -> str:
    """Return the page. `compared` has the name, the storm, its simulation and its real boots."""
    rows = list(simulated)
    worst = max(r.mean - 1 for storm, r in rows if storm.client == "device, HTTPS")
    return _TEMPLATE.read_text().format(
        date=moment.astimezone(UTC).date(),
        settings=settings(),
        margin=MARGIN,
        more=MARGIN - 1,
        connects=CONNECTS,
        simulated=_simulated(rows),
        after=worst,
        logins="; ".join(_login(name, result) for name, result in logins),
        compared=_compared(compared),
        admitted=ADMITTED,
    )


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def settings() -> str:
    """Return the table of what a deployer sets."""
    slow, fast = _IOT_RATES
    head = ["N", "`per_minute`", "first wait", "all enrolled after", "AWS IoT knows all after", "or"]
    head[4] += f" (`iotRate` {slow})"
    head[5] += f" (`iotRate` {fast})"
    return _table(head, ([*_setting(devices, rate, slow, fast)] for devices, rate in FLEETS))


def _setting(devices: int, per_minute: int, slow: float, fast: float) -> list[str]:
    wait = first_wait(devices, per_minute / 60)
    known = (max(devices / rate, wait) for rate in (slow, fast))
    return [f"{devices:,}", f"{per_minute:,}", f"{wait:,} s", _time(wait), *map(_time, known)]


def _simulated(rows: Iterable[tuple[Storm, Result]]) -> str:
    head = ["N", "rate, a second", "client", "come within", "time", "requests: mean", "p99", "most", "peak"]
    head += ["without a time", "polls", "closed", "gave up"]
    return _table(head, ([*_row(storm, result)] for storm, result in rows))


def _row(storm: Storm, result: Result) -> list[str]:
    each = (result.unnamed, result.polls, result.closed, result.gave_up)
    return [
        f"{storm.devices:,}",
        f"{storm.rate:,.0f}",
        storm.client,
        f"{storm.spread:,.0f} s",
        f"{result.duration:.2f}",
        f"{result.mean:.2f}",
        str(result.percentile(0.99)),
        str(max(result.requests)),
        f"{result.peak:.1f}",
        *(f"{count / result.devices:.2f}" for count in each),
    ]


def _login(name: str, result: Result) -> str:
    return f"{name} are done in {_time(result.done)}, with {result.mean:.1f} requests each"


def _compared(rows: Iterable[tuple[str, Storm, Result, Result]]) -> str:
    head = [
        "storm",
        "N",
        "`per_minute`",
        "come within",
        "",
        "time",
        "requests: mean",
        "most",
        "peak",
        "polls",
    ]
    lines = []
    for name, storm, *both in rows:
        for side, result in zip(("simulated", "real"), both, strict=True):
            what = [name, f"{storm.devices:,}", f"{storm.per_minute:,}", f"{storm.spread:,.0f} s", side]
            numbers = [f"{result.duration:.2f}", f"{result.mean:.2f}", str(max(result.requests))]
            lines.append([*what, *numbers, f"{result.peak:.1f}", f"{result.polls / result.devices:.2f}"])
        ratio = [
            f"{both[1].duration / both[0].duration:.2f}",
            f"{both[1].mean / both[0].mean:.2f}",
            "",
            "",
            "",
        ]
        lines.append(["", "", "", "", "real / simulated", *ratio])
    return _table(head, lines) if lines else "This run had no real boots (`make storm BOOTS=1000`)."


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"
