"""Describe a walk and its steps in words."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import botocore
from rich.text import Text

from console.__main__ import version
from verify import spending
from verify.bench import Bench
from verify.page import Head, count, hidden
from verify.spending import Act
from verify.step import Need, Outcome, Result
from verify.steps import STEPS

_STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow"}
_WIDTH = max(map(len, Outcome)) + 1


def acts(bench: Bench) -> Counter[Act]:
    """Return what the steps that this walk can take spend."""
    return spending.total(step.spends for step in STEPS if not step.needs & bench.missing)


def head(bench: Bench, begun: datetime, left: Sequence[str], cut: str) -> Head:
    """Return what the page says of the walk itself."""
    place = bench.deployed.place
    emulated = Need.AWS in bench.missing
    return Head(
        stack=bench.deployed.stack,
        account=place.account,
        region=place.region,
        begun=begun,
        facts={
            "Run against": "an emulator, which is not AWS" if emulated else "AWS",
            "Firstboot": version(),
            "Fleet in force": bench.fleet.hash,
            "Groups with a factory": ", ".join(bench.factories) or "none",
            "Client": f"Python {platform.python_version()}, botocore {botocore.__version__}",
        },
        acts=acts(bench),
        left=left,
        cut=cut,
    )


def default_file(bench: Bench, begun: datetime) -> Path:
    """Return the page's file, which no other walk has."""
    return Path(f".local/verify/{bench.deployed.stack}-{begun:%Y%m%dT%H%M%S}-{bench.run}.md")


def lines(result: Result, bench: Bench) -> list[str | Text]:
    """Describe a result for a terminal."""
    seconds = "" if result.outcome is Outcome.SKIPPED else f" ({result.seconds:.1f} s)"
    title = Text(f"{result.outcome:<{_WIDTH}}", style=_STYLES[result.outcome]) + Text(result.step + seconds)
    below = [str(each) for each in result.measurements] + ([result.reason] if result.reason else [])
    return [title, *(f"  {hidden(each, bench.deployed.place.account)}" for each in below)]


def summary(results: Sequence[Result], left: Sequence[str], file: Path) -> list[str]:
    """Return the last lines of a walk."""
    counts = ", ".join(f"{count(results, each)} {each}" for each in Outcome)
    return [counts, *(f"left behind: {each}" for each in left), f"written: {file}"]
