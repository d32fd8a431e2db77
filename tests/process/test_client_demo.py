"""The lines of `make demo-clients`, and when it fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import factories
from tests.clients.demo import Scenario, tell
from tests.flows.conftest import Cloud

CLOUD = Cloud({}, factories.authority())


def gets(what: str) -> Callable[[Cloud, Path], str]:
    """Return a client that gets `what`, in a folder of its own."""

    def run(cloud: Cloud, folder: Path) -> str:
        assert cloud is CLOUD
        assert list(folder.iterdir()) == []
        return what

    return run


def fails(cloud: Cloud, folder: Path) -> str:
    """Fail as a client that is refused."""
    raise ConnectionError("refused")


def told(folder: Path, **scenarios: Scenario) -> tuple[bool, list[str]]:
    """Return whether the scenarios hold, and their lines without times."""
    lines: list[str] = []
    held = tell(scenarios, CLOUD, folder, lines.append)
    return held, [re.sub(r" +\d+\.\d s", " T", line) for line in lines]


def test_every_scenario_has_a_line_with_its_time(tmp_path: Path) -> None:
    """Scenarios that hold have one line each, with what the client got."""
    found = told(tmp_path, one=Scenario(gets("an identity")), other=Scenario(gets("credentials")))
    assert found == (True, ["one T  an identity", "other T  credentials"])


def test_a_scenario_that_does_not_hold_fails_the_demo(tmp_path: Path) -> None:
    """A client that fails has its reason in its line, and the scenarios after it still run."""
    held, lines = told(tmp_path, one=Scenario(fails), other=Scenario(gets("credentials")))
    assert not held
    assert lines == ["one T  DOES NOT HOLD: ConnectionError: refused", "other T  credentials"]


@pytest.mark.parametrize(
    "absent",
    [
        Scenario(fails, programs=("no-such",)),
        Scenario(fails, packages=("no_such",)),
        Scenario(fails, environments=("no-such",)),
    ],
)
def test_a_client_that_is_not_installed_is_left_out(tmp_path: Path, absent: Scenario) -> None:
    """A client that this machine lacks is named, and does not fail the demo."""
    held, lines = told(tmp_path, one=absent, other=Scenario(gets("credentials")))
    assert held
    assert lines[0] == f"one       -   not run: {absent.missing[0]} not found"
    assert lines[1:] == ["other T  credentials"]


def test_a_demo_without_any_client_does_not_hold(tmp_path: Path) -> None:
    """The demo fails if this machine has none of the clients."""
    held, _ = told(tmp_path, one=Scenario(fails, programs=("no-such",)))
    assert not held
