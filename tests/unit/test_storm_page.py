"""Test the page of `make storm`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from bench.storm import page
from bench.storm.__main__ import SIMULATED
from bench.storm.clients import first_wait
from bench.storm.scenarios import HTTPS, Storm, logins

DOCS = Path(__file__).parents[2] / "docs"
STORM = Storm(300, 600, HTTPS, throttled=False)
MOMENT = datetime(2026, 11, 28, tzinfo=UTC)


def test_simulation_and_real_boots_stand_side_by_side() -> None:
    """The page has both sides of each storm with their ratio, and nothing is left of the template."""
    simulated, real = STORM.run(1), STORM.run(2)
    login = logins(300, 100, 60)
    text = page.text([(STORM, simulated)], [("300", login)], [("HTTPS", STORM, simulated, real)], MOMENT)
    assert "{" not in text
    for side, result in (("simulated", simulated), ("real", real)):
        assert f"| {side} | {result.duration:.2f} | {result.mean:.2f} |" in text
    assert f"| real / simulated | {real.duration / simulated.duration:.2f} |" in text


def test_a_run_without_real_boots_says_so() -> None:
    """Without real boots the page says that there were none, in the place of their table."""
    text = page.text([(STORM, STORM.run())], [], [], MOMENT)
    assert "This run had no real boots" in text


def test_the_page_in_docs_has_the_settings_of_the_code() -> None:
    """The first table of docs/storm.md, and its rows of simulated storms, are those of the code."""
    text = (DOCS / "storm.md").read_text()
    assert page.settings() in text
    for storm in SIMULATED:
        row = f"| {storm.devices:,} | {storm.rate:,.0f} | {storm.client} | {storm.spread:,.0f} s |"
        assert row in text


def test_the_targets_hold_on_the_page() -> None:
    """On the page, each storm with the first wait is done in 1.05 of the shortest time with 2.1 requests a
    device, and each other one over HTTPS has at most four requests a device after the first answer.
    """
    lines = [re.split(r" *\| *", line.strip("| \n")) for line in (DOCS / "storm.md").read_text().splitlines()]
    rows = {tuple(line[:4]): line[4:] for line in lines if len(line) == 13}
    for storm in SIMULATED:
        spread = f"{storm.spread:,.0f} s"
        time, mean, *_ = rows[f"{storm.devices:,}", f"{storm.rate:,.0f}", storm.client, spread]
        if storm.within is None:
            assert (float(time) <= 1.05, float(mean) <= 2.1) == (True, True), storm
        elif storm.client == HTTPS:
            assert float(mean) - 1 <= 4, storm


def test_the_example_in_the_firmware_s_page() -> None:
    """The example's first wait in docs/devices.md follows from the formula."""
    assert f"it is {first_wait(1_000, 200 / 60)} seconds" in (DOCS / "devices.md").read_text()
