"""Run scenarios of clients one after the other, and print a line with its time for each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from local.processes import ROOT
from tests.clients.programs import PLACES
from tests.flows.conftest import Cloud


@dataclass(frozen=True)
class Scenario:
    """A client's way from nothing to what it wants.

    `run` is called with the cloud and an empty folder. It returns what the client got, and raises if
    something does not hold. The client needs `programs`, the Python `packages` and the `environments`, which
    are folders of .venv that make fills.
    """

    run: Callable[[Cloud, Path], str]
    programs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """Return the programs, packages and environments that this machine does not have."""
        programs = [name for name in self.programs if not shutil.which(name, path=PLACES)]
        packages = [name for name in self.packages if not find_spec(name)]
        folders = [f".venv/{name}" for name in self.environments]
        return programs + packages + [name for name in folders if not (ROOT / name / "ready").exists()]


def tell(
    scenarios: Mapping[str, Scenario], cloud: Cloud, folder: Path, say: Callable[[str], None] = print
) -> bool:
    """Run the scenarios whose clients this machine has, and return whether each of them holds.

    A scenario that fails does not end the others. If none can run, nothing holds.
    """
    width, held = max(map(len, scenarios)), []
    for number, (name, scenario) in enumerate(scenarios.items()):
        if missing := scenario.missing:
            say(f"{name:<{width}}     -   not run: {', '.join(missing)} not found")
            continue
        own = folder / str(number)
        own.mkdir(parents=True)
        begun = time.monotonic()
        got, holds = _outcome(scenario, cloud, own)
        held.append(holds)
        say(f"{name:<{width}}  {time.monotonic() - begun:4.1f} s  {got}")
    return bool(held) and all(held)


def _outcome(scenario: Scenario, cloud: Cloud, folder: Path) -> tuple[str, bool]:
    """Return what a client got, or why its scenario does not hold; and whether it does."""
    try:
        return scenario.run(cloud, folder), True
    except Exception as error:  # noqa: BLE001 - a client's failure may be any exception
        return f"DOES NOT HOLD: {type(error).__name__}: {error}", False
