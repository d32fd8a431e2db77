"""The console's help and tables fit 80 columns and cut no id, no fingerprint and no option."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from console import describe, output
from console.__main__ import app
from console.cloud import Operate
from console.output import Screen

WIDTH = 80
ID, GROUP, DIGEST = "d" * 64, "g" * 64, "a" * 64
MOMENT = "2026-11-27T13:20:19Z"
CERTIFICATE = {
    "certificateId": DIGEST,
    "serial": "b" * 40,
    "notBefore": MOMENT,
    "notAfter": MOMENT,
    "renewAfter": MOMENT,
}
DEVICE = {
    "deviceId": ID,
    "group": GROUP,
    "status": "enrolled",
    "enrolledBy": DIGEST,
    "active": CERTIFICATE,
    "pending": None,
    "attributes": {"site": "berlin", "quarantined": True, "channel": "stable", "batch": "2026-11"},
    "claims": {},
}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every command and every group of commands."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def options(path: tuple[str, ...]) -> set[str]:
    """Return the options that a command declares."""
    command: Any = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return {text for parameter in command.params for text in parameter.opts if text.startswith("-")}


def fits(lines: list[str]) -> bool:
    """Return whether each line fits."""
    return all(len(each) <= WIDTH for line in lines for each in line.splitlines())


@pytest.mark.parametrize("path", [*commands(typer.main.get_command(app))], ids=" ".join)
def test_help_fits(path: tuple[str, ...]) -> None:
    """The help of every command fits, names each option in full and ends no summary early."""
    done = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": str(WIDTH)})
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert fits(lines)
    assert {option for option in options(path) if option not in done.stdout} == set()
    assert [line for line in lines if line.endswith("...") and not line.startswith("Usage")] == []
    assert "…" not in done.stdout


def test_a_list_of_devices_fits() -> None:
    """The longest device takes several lines, which have every value of it in full."""
    text = describe.row(DEVICE, WIDTH)
    assert fits([describe.header(WIDTH), text])
    values = [ID, GROUP, "enrolled", MOMENT, 'site="berlin"', "quarantined=true", 'batch="2026-11"']
    assert [value for value in values if value not in text] == []


def test_a_usual_device_is_one_line() -> None:
    """A device with a short id and a short group is one line, under the header's columns."""
    row = describe.row(DEVICE | {"deviceId": "gw-000001", "group": "gateways", "attributes": {}}, WIDTH)
    header = describe.header(WIDTH).splitlines()[0]
    for title, value in {"DEVICE": "gw-000001", "GROUP": "gateways", "CERTIFICATE": MOMENT}.items():
        assert row.index(value) == header.index(title)


def test_in_a_pipe_a_device_is_one_line() -> None:
    """Without a width, a device of any length is one line, so that `grep` and `awk` can read it."""
    assert "\n" not in describe.row(DEVICE)
    assert "\n" not in describe.header()


def test_a_terminal_decides_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """`devices list` and `devices show` fit the width of the terminal that they print to."""
    terminal = io.StringIO()
    screen = Screen(file=terminal, force_terminal=True, width=WIDTH, soft_wrap=True, highlight=False)
    monkeypatch.setattr(output, "_out", screen)
    monkeypatch.setattr(Operate, "devices", lambda *_, **__: iter([DEVICE]))
    monkeypatch.setattr(Operate, "call", lambda *_, **__: DEVICE)
    for command in (["list"], ["show", ID]):
        assert CliRunner().invoke(app, ["devices", *command]).exit_code == 0
    text = terminal.getvalue()
    assert fits(text.splitlines())
    assert text.count(ID) == 2


def test_a_device_fits() -> None:
    """A device record fits, and its id and fingerprints are in full."""
    lines = describe.device(DEVICE, WIDTH)
    assert fits(lines)
    text = "\n".join(lines)
    assert f"certificateId={DIGEST}" in text
    assert f"enrolledBy  {DIGEST}" in text
    assert f"deviceId    {ID}" in text


def test_an_explanation_fits() -> None:
    """An explanation fits, and names device, grants and rules in full."""
    grant, rules = "t" * 64, [f"rule-{number}-{'r' * 50}" for number in range(3)]
    moment = {
        "roleAlias": None,
        "grants": [{"grant": grant, "rules": rules}],
        "withheld": [{"grant": "firmware", "rules": rules}],
        "errors": [],
        "refusal": None,
        "sessionPolicy": None,
    }
    lines = describe.explanation(DEVICE | {"moments": [moment]}, WIDTH)
    assert fits(lines)
    assert [each for each in (ID, GROUP, grant, *rules) if each not in "\n".join(lines)] == []


def test_a_group_fits() -> None:
    """The longest group and the largest budget fit."""
    budget = {
        "total": 10**9,
        "spent": 10**9,
        "perMinute": 10**9,
        "freezePerHour": 10**9,
        "until": "2037-01-01T00:00:00Z",
    }
    state = {
        "group": GROUP,
        "deviceId": "request.deviceId",
        "reenroll": "replace",
        "budget": budget,
        "frozenAt": MOMENT,
        "anchorsCountedAt": MOMENT,
        "anchors": [
            {"anchor": "a" * 64, "subject": "CN=" + "\x1b" * 125, "trusted": True, "devices": 10**9},
            {"anchor": None, "subject": None, "trusted": False, "devices": None},
        ],
    }
    lines = describe.group(state)
    assert fits(lines)
    assert f"anchor       {'a' * 64}" in lines
    assert "\x1b" not in "\n".join(lines)
    assert f"group        {GROUP}" in lines
    assert "             until 2036-12-31, the last day (UTC)" in lines
