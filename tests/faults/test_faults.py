"""Each flow ends as without a fault, also if a fault strikes any of its calls.

A sample is taken for `make test`. With FIRSTBOOT_FAULTS=all (`make faults`) every cell is run, and the
results are written to .local/faults for the page (`python -m tests.faults`).
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.flows import FLOWS
from tests.faults.matrix import Cell, Prepared, prepared
from tests.faults.wire import Kind

SEED = 16
RESULTS = Path(".local/faults")
_MODE = os.environ.get("FIRSTBOOT_FAULTS", "1")
_PARTS = 4 if _MODE == "all" else 1
"""A flow's cells are several tests, so that two workers share them evenly."""


def _chosen(flow: Prepared, part: int) -> list[Cell]:
    """Return the cells of a part: all, or as many of each kind as the mode says."""
    if _MODE == "all":
        return flow.cells()[part::_PARTS]
    cells = flow.cells()
    random.Random(f"{SEED} {flow.name}").shuffle(cells)  # noqa: S311 - it keeps nothing secret
    return [cell for kind in Kind for cell in _of(kind, cells)[: int(_MODE)]]


def _of(kind: Kind, cells: list[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.kind is kind]


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_survives(name: str, part: int) -> None:
    """After any fault at any call, the whole end state is that of the undisturbed run."""
    with prepared(name) as flow:
        # A run that ends in a refusal would be the measure of all others.
        assert (flow.undisturbed.state["outcomes"], flow.undisturbed.state["dead"]) == ([], 0)
        chosen = _chosen(flow, part)
        found = [(cell.kind.value, cell.number, _call(flow, cell), flow.problems(cell)) for cell in chosen]
        failed = [each for each in found if each[-1]]
        _write(flow, part, chosen, len(failed))
    assert failed == []


def _call(flow: Prepared, cell: Cell) -> str:
    return flow.undisturbed.calls[cell.number] if cell.number < len(flow.undisturbed.calls) else ""


def _write(flow: Prepared, part: int, chosen: list[Cell], failed: int) -> None:
    if _MODE == "1":
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    every = flow.all_cells()
    result = {
        "flow": flow.name,
        "calls": len(flow.undisturbed.calls),
        "invocations": flow.undisturbed.invocations,
        "cells": sum(map(flow.is_possible, every)),
        "impossible": sum(not flow.is_possible(each) for each in every),
        "run": Counter(cell.kind.value for cell in chosen),
        "failed": failed,
    }
    (RESULTS / f"{list(FLOWS).index(flow.name):02}-{part}.json").write_text(json.dumps(result))
