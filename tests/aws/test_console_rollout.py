"""`console fleet apply` counts the devices to change, publishes, and follows the sweep."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from console import output, rollout
from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.compiler import fleet as compiler
from firstboot.operate import fleet as operate_fleet
from firstboot.register import sweep
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.aws.sweeping import Sweeper


@pytest.fixture
def sweeper(product: Product, monkeypatch: pytest.MonkeyPatch) -> Sweeper:
    """Return a sweep with two rows a page, and three devices that are reconciled with the example fleet."""
    monkeypatch.setattr(operate_fleet, "PAGE", 2)
    monkeypatch.setattr(sweep, "PAGE", 2)
    monkeypatch.setenv("FIRSTBOOT_FLEET_REFRESH", "0")  # the published fleet is read at once
    made = Sweeper(product)
    for number in range(3):
        made.device(f"gw-{number}", {"mqtt"})
    return made


@pytest.fixture
def folder(sweeper: Sweeper, tmp_path: Path) -> Path:
    """Deploy and sweep the example fleet. Return a folder whose rules take MQTT from every device."""
    copy = tmp_path / "fleet"
    shutil.copytree("fleet", copy)
    aws_fleet._DEPLOYED.write_text(compiler.load(copy).to_json())
    sweeper.product.lambdas.restart()
    sweeper.run()
    rules = (copy / "rules.cedar").read_text()
    assert '@id("own-topics")\npermit' in rules
    (copy / "rules.cedar").write_text(rules.replace('@id("own-topics")\npermit', '@id("own-topics")\nforbid'))
    return copy


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Return a function whose argument is called each time the console would sleep."""
    return lambda action: monkeypatch.setattr(rollout, "time", SimpleNamespace(sleep=lambda _: action()))


Meanwhile = Callable[[Callable[[], object]], None]


def in_force(product: Product) -> str:
    """Return the hash of the fleet in force."""
    return str(product.operate("fleet.show")["result"]["inForce"]["hash"])


def never() -> None:
    """Fail the test."""
    raise AssertionError


def test_apply_waits_for_the_sweep(sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile) -> None:
    """`apply --json` publishes, and prints the counts before and the progress after the sweep."""
    meanwhile(lambda: sweeper.next_minute(pages=1))
    applied = json.loads(run("fleet", "apply", str(folder), "--json").stdout)
    assert applied["devices"] == {"scanned": 3, "touched": 3}
    progress = applied["progress"]
    assert (progress["inForce"], progress["finished"]) == (True, True)
    assert (progress["scanned"], progress["touched"]) == (3, 3)
    assert sweeper.ordered() == ["gw-0", "gw-1", "gw-2"]


def test_apply_prints_each_step(sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile) -> None:
    """`apply` prints the changes, the number of devices, the publication and the progress, in this order."""
    meanwhile(sweeper.next_minute)
    words = run("fleet", "apply", str(folder)).stdout
    places = [
        words.index(text) for text in ("rules: changed", "of 3 of 3 devices", "published;", "all devices")
    ]
    assert places == sorted(places)
    assert "AWS IoT has no backlog" in words


def test_a_way_that_closes_is_shown_with_its_devices(sweeper: Sweeper, folder: Path, run: Run) -> None:
    """`diff` and `apply` say how many devices enrolled by a way that a group loses, and what is left."""
    for number, way in enumerate(("mtls", "mtls", "proof", None)):
        sweeper.device(f"gw-{number}", {"mqtt"}, enrolledBy="f0", **({"way": way} if way else {}))
    sweeper.device("gw-9", {"mqtt"}, enrolledBy="f0", way="mtls", status="revoked")
    definition = folder / "fleet.toml"
    head, begin, rest = definition.read_text().partition("\ntrust ")
    assert "[groups.gateways]" in head
    definition.write_text(f'{head}\nways = ["proof", "mqtt"]{begin}{rest}')
    line = (
        "way mtls closes for group gateways. Devices that enrolled by it stay, and renew and get credentials "
        "by proof, mqtt only: 2 devices"
    )
    for command in ("diff", "apply"):
        shown = run("fleet", command, str(folder), *(["--yes", "--no-wait"] if command == "apply" else []))
        assert line in shown.stdout.splitlines()
        assert '+  "ways": [' in shown.stdout


def test_groups_that_there_was_no_time_for_are_named(
    sweeper: Sweeper, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet with groups that were not checked in time is published, and `apply` says how many they are."""
    monkeypatch.setattr(operate_fleet, "SUMS", timedelta(0))
    applied = json.loads(run("fleet", "apply", str(folder), "--no-wait", "--json").stdout)
    groups = len(compiler.load(folder).groups)
    assert applied["uncheckedGroups"] == groups
    assert in_force(sweeper.product) != sweeper.product.fleet.hash
    (folder / "rules.cedar").write_text((folder / "rules.cedar").read_text() + "\n// again\n")
    shown = run("fleet", "apply", str(folder), "--yes", "--no-wait").stdout
    assert f"{groups} groups were not checked for grants that are too large together" in shown


def test_apply_shows_its_progress(
    sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal shows the devices as they are counted, and as the sweep reads them."""
    terminal = io.StringIO()
    monkeypatch.setattr(output, "_err", Console(file=terminal, force_terminal=True, width=150))
    meanwhile(lambda: sweeper.next_minute(pages=1))
    run("fleet", "apply", str(folder), "--json")
    assert "device records read, 3 to change" in terminal.getvalue()
    assert "AWS IoT has no backlog" in terminal.getvalue()


@pytest.mark.parametrize(
    ("arguments", "answer", "published"),
    [([], "n\n", False), ([], "y\n", True), (["--yes"], "", True), (["-y"], "", True)],
)
def test_apply_asks_a_person(
    sweeper: Sweeper,
    folder: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    answer: str,
    *,
    published: bool,
) -> None:
    """At a terminal, a fleet that changes devices is published after a yes only, or with `--yes`."""
    monkeypatch.setattr(output, "can_ask", lambda: True)
    before = in_force(sweeper.product)
    result = run("fleet", "apply", str(folder), "--no-wait", *arguments, input=answer)
    assert (
        "change the policies of 3 devices in AWS IoT? (stack Firstboot in us-east-1" in result.stderr
    ) == (not arguments)
    assert (in_force(sweeper.product) != before) == published
    assert result.exit_code == (0 if published else 1)


def test_apply_that_changes_no_device_does_not_ask(
    sweeper: Sweeper, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile
) -> None:
    """`apply` neither asks nor waits if it changes no device."""
    for number in range(3):
        sweeper.device(f"gw-{number}")
    monkeypatch.setattr(output, "can_ask", never)
    meanwhile(never)
    applied = json.loads(run("fleet", "apply", str(folder), "--json").stdout)
    assert applied["devices"] == {"scanned": 3, "touched": 0}
    assert "progress" not in applied


def test_apply_need_not_wait(sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile) -> None:
    """With --no-wait, `apply` ends at once, and `fleet progress` shows the sweep."""
    meanwhile(never)
    assert "published" in run("fleet", "apply", str(folder), "--no-wait").stdout
    assert "has read no device record yet" in run("fleet", "progress").stdout
    sweeper.next_minute(pages=1)
    assert "so far: 2 read, 2 to change" in run("fleet", "progress").stdout
    sweeper.next_minute()
    assert "all devices: 3 read, 3 to change" in run("fleet", "progress").stdout
    state = json.loads(run("fleet", "progress", "--json").stdout)
    assert state == sweeper.product.operate("fleet.progress")["result"]


def test_an_interrupted_apply_has_published(
    sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile
) -> None:
    """After Ctrl-C while `apply` waits, the fleet is published, and the command says so."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    before = in_force(sweeper.product)
    meanwhile(interrupt)
    result = run("fleet", "apply", str(folder))
    assert result.exit_code == 130
    assert "the fleet is published and the sweep continues" in result.stderr
    assert in_force(sweeper.product) != before


def test_apply_does_not_wait_for_ever(sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile) -> None:
    """`apply` stops waiting, with exit code 3, if the sweep does not progress for some minutes."""
    naps: list[Any] = []
    meanwhile(lambda: naps.append(None))
    result = run("fleet", "apply", str(folder))
    assert result.exit_code == 3
    assert "the fleet is published" in result.stderr
    assert 60 / rollout._EVERY < len(naps) < 100


def test_diff_counts_the_devices_that_change(sweeper: Sweeper, folder: Path, run: Run) -> None:
    """`diff` counts devices without publishing, and counts none if nothing differs."""
    assert "policies of 3 of 3 devices change" in run("fleet", "diff", str(folder)).stdout
    found = json.loads(run("fleet", "diff", str(folder), "--json").stdout)
    assert found["devices"] == {"scanned": 3, "touched": 3}
    same = json.loads(run("fleet", "diff", "fleet", "--json").stdout)
    assert (same["changes"], "devices" in same) == ([], False)


def test_what_is_refused_is_not_counted(
    sweeper: Sweeper, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fleet that needs a deployment is refused without a count and without a question."""
    definition = (folder / "fleet.toml").read_text()
    (folder / "fleet.toml").write_text(definition.replace("seconds = 900", "seconds = 1800"))
    monkeypatch.setattr(output, "can_ask", never)
    monkeypatch.setattr(rollout, "plan", never)
    result = run("fleet", "apply", str(folder), "--json")
    assert json.loads(result.stderr)["code"] == "fleet-needs-deployment"
