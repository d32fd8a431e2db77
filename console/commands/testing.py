"""`console fleet test`: run the tests of a fleet folder's rules. It needs no AWS."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer
from cedarpy import policies_to_json_str
from rich.text import Text

from console import expectations, fleet_folder, output
from console.cloud import Refused
from console.expectations import FILE, Invalid, RuleTest
from console.options import Folder, Json, Options
from firstboot.domain.fleet import Fleet
from firstboot.policy.rules import Rules


def run_tests(ctx: typer.Context, folder: Folder = Path("fleet"), *, as_json: Json = False) -> None:
    """Run the tests of the rules in a fleet folder's tests.toml.

    A test says which grants a device of a group must hold, which not, and by which rules. The command calls
    no other machine. The exit code is 1 if a test fails, or if there is none.
    """
    options = Options.of(ctx, None, as_json=as_json)
    with output.failures(as_json=options.as_json):
        fleet = fleet_folder.load(folder)
        tests, rules = _read(folder, fleet), Rules(fleet)
        failed = [failure for test in tests for failure in expectations.failures(test, rules)]
        names = {each.test for each in failed}
        counts = {"tests": len(tests), "passed": len(tests) - len(names), "failed": len(names)}
        result = counts | {"failures": [asdict(each) for each in failed]}
        output.result(result, _describe, as_json=options.as_json)
        if failed:
            raise typer.Exit(output.REFUSED)


def _read(folder: Path, fleet: Fleet) -> list[RuleTest]:
    """Return the tests of a fleet folder. Raises Refused."""
    file = folder / FILE
    if not file.exists():
        raise Refused({"code": "tests-missing", "detail": f"{file} is missing; docs/fleet.md describes it"})
    policies = json.loads(policies_to_json_str(fleet.rules))["staticPolicies"].values()
    try:
        return expectations.read(
            file.read_text(encoding="utf-8"), fleet, {each["annotations"]["id"] for each in policies}
        )
    except UnicodeDecodeError as error:
        raise Refused({"code": "tests-invalid", "detail": f"{file} is not UTF-8"}) from error
    except Invalid as error:
        problem = {"code": "tests-invalid", "detail": str(error), "problems": error.problems}
        raise Refused(problem) from error


def _describe(result: output.Record) -> list[str | Text]:
    lines: list[str | Text] = [
        Text(f"failed: {each['test']}: {each['text']}", style="red") for each in result["failures"]
    ]
    return [*lines, f"{result['passed']:,} of {result['tests']:,} tests passed"]
