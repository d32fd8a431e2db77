"""`console fleet apply` as AWS IoT feels it: how many devices before, how far after."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
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
    """Three devices that AWS IoT has as the example fleet wants them; two rows a page."""
    monkeypatch.setattr(operate_fleet, "PAGE", 2)
    monkeypatch.setattr(sweep, "PAGE", 2)
    monkeypatch.setenv("FIRSTBOOT_FLEET_REFRESH", "0")  # messages come at once
    made = Sweeper(product)
    for number in range(3):
        made.device(f"gw-{number}", {"mqtt"})
    return made


@pytest.fixture
def folder(sweeper: Sweeper, tmp_path: Path) -> Path:
    """The example fleet is deployed and swept; this folder takes MQTT from every device."""
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
    """Have something happen whenever the console would sleep."""
    return lambda action: monkeypatch.setattr(rollout, "time", SimpleNamespace(sleep=lambda _: action()))


Meanwhile = Callable[[Callable[[], object]], None]


def in_force(product: Product) -> str:
    """The hash of the fleet in force."""
    return str(product.operate("fleet.show")["result"]["inForce"]["hash"])


def never() -> None:
    """What must not happen."""
    raise AssertionError


def test_apply_waits_for_the_sweep(sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile) -> None:
    """It counts before, publishes, and ends when every device was looked at; numbers for programs."""
    meanwhile(lambda: sweeper.next_minute(pages=1))
    applied = json.loads(run("fleet", "apply", str(folder), "--json").stdout)
    assert applied["devices"] == {"scanned": 3, "touched": 3}
    told = applied["progress"]
    assert (told["inForce"], told["finished"], told["scanned"], told["touched"]) == (True, True, 3, 3)
    assert sweeper.ordered() == ["gw-0", "gw-1", "gw-2"]


def test_apply_tells_a_person(sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile) -> None:
    """The changes, how many devices, that it is published, how far AWS IoT is; in this order."""
    meanwhile(sweeper.next_minute)
    words = run("fleet", "apply", str(folder)).stdout
    places = [
        words.index(text) for text in ("rules: changed", "of 3 of 3 devices", "published;", "all devices")
    ]
    assert places == sorted(places)
    assert "AWS IoT has no backlog" in words


def test_apply_shows_its_progress(
    sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a terminal: devices as they are counted, and as they are looked at."""
    terminal = io.StringIO()
    monkeypatch.setattr(output, "_err", Console(file=terminal, force_terminal=True, width=150))
    meanwhile(lambda: sweeper.next_minute(pages=1))
    run("fleet", "apply", str(folder), "--json")
    assert "devices looked at, 3 to change" in terminal.getvalue()
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
    """At a terminal, only a yes publishes what devices feel, unless it was said before."""
    monkeypatch.setattr(output, "someone_can_answer", lambda: True)
    before = in_force(sweeper.product)
    result = run("fleet", "apply", str(folder), "--no-wait", *arguments, input=answer)
    assert ("3 devices in AWS IoT?" in result.stderr) == (not arguments)
    assert (in_force(sweeper.product) != before) == published
    assert result.exit_code == (0 if published else 1)


def test_apply_that_touches_no_device_asks_nobody(
    sweeper: Sweeper, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, meanwhile: Meanwhile
) -> None:
    """Nor does it wait: there is nothing to see."""
    for number in range(3):
        sweeper.device(f"gw-{number}")
    monkeypatch.setattr(output, "someone_can_answer", never)
    meanwhile(never)
    applied = json.loads(run("fleet", "apply", str(folder), "--json").stdout)
    assert applied["devices"] == {"scanned": 3, "touched": 0}
    assert "progress" not in applied


def test_apply_need_not_wait(sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile) -> None:
    """With --no-wait it leaves at once, and `fleet progress` says the rest."""
    meanwhile(never)
    assert "published" in run("fleet", "apply", str(folder), "--no-wait").stdout
    assert "no device has been looked at yet" in run("fleet", "progress").stdout
    sweeper.next_minute(pages=1)
    assert "so far: 2 looked at, 2 to change" in run("fleet", "progress").stdout
    sweeper.next_minute()
    assert "all devices: 3 looked at, 3 to change" in run("fleet", "progress").stdout
    state = json.loads(run("fleet", "progress", "--json").stdout)
    assert state == sweeper.product.operate("fleet.progress")["result"]


def test_an_interrupted_apply_has_published(
    sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile
) -> None:
    """Ctrl-C while it waits stops the waiting alone, and says so."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    before = in_force(sweeper.product)
    meanwhile(interrupt)
    result = run("fleet", "apply", str(folder))
    assert result.exit_code == 130
    assert "it is published and goes on" in result.stderr
    assert in_force(sweeper.product) != before


def test_apply_does_not_wait_for_ever(sweeper: Sweeper, folder: Path, run: Run, meanwhile: Meanwhile) -> None:
    """A script gets its answer when nothing happens any more: no answer, but published."""
    naps: list[Any] = []
    meanwhile(lambda: naps.append(None))
    result = run("fleet", "apply", str(folder))
    assert result.exit_code == 3
    assert "it is published" in result.stderr
    assert 60 / rollout._EVERY < len(naps) < 100


def test_diff_tells_how_many_devices_it_touches(sweeper: Sweeper, folder: Path, run: Run) -> None:
    """Without publishing anything; and nothing is counted where nothing differs."""
    assert "policies of 3 of 3 devices change" in run("fleet", "diff", str(folder)).stdout
    found = json.loads(run("fleet", "diff", str(folder), "--json").stdout)
    assert found["devices"] == {"scanned": 3, "touched": 3}
    same = json.loads(run("fleet", "diff", "fleet", "--json").stdout)
    assert (same["changes"], "devices" in same) == ([], False)


def test_what_is_refused_is_not_counted(
    sweeper: Sweeper, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs a deployment is refused before anyone is asked anything."""
    definition = (folder / "fleet.toml").read_text()
    (folder / "fleet.toml").write_text(definition.replace("seconds = 900", "seconds = 1800"))
    monkeypatch.setattr(output, "someone_can_answer", never)
    monkeypatch.setattr(rollout, "plan", never)
    result = run("fleet", "apply", str(folder), "--json")
    assert json.loads(result.stderr)["code"] == "fleet-needs-deployment"
