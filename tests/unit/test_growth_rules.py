"""The measurement of growth with rules and grants has a row for each size, and fleets that compile."""

from __future__ import annotations

import re

import pytest

from bench import growth_rules
from firstboot.compiler import fleet as compiler
from firstboot.compiler import sizes


def test_the_sizes_end_at_the_limit() -> None:
    """The largest fleet of the measurement has as many rules and grants as a fleet may have, and compiles."""
    rules, grants = growth_rules.SIZES[-1]
    assert (rules, grants) == (sizes.RULES, sizes.GRANTS)
    assert len(compiler.compile_fleet(growth_rules.source(rules, grants)).grants) == grants


def test_each_row_has_medians_with_quartiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row has its size, and each other cell a median and two quartiles."""
    few = growth_rules.devices(3)
    monkeypatch.setattr(growth_rules, "SIZES", ((1, 1), (3, 2)))
    monkeypatch.setattr(growth_rules, "devices", lambda: [*few] * 3)
    rows = growth_rules.measure()
    assert [(row["rules"], row["grants"]) for row in rows] == [(1, 1), (3, 2)]
    for row in rows:
        cells = [value for name, value in row.items() if name not in ("rules", "grants")]
        assert all(re.fullmatch(r"[\d.e+-]+ \([\d.e+-]+ to [\d.e+-]+\)", cell) for cell in cells)
        assert len(cells) == 6
