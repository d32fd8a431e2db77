"""`console fleet`: the fleet definition. `check` needs no AWS."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from console import changes, output
from console.cloud import Fleets, Operate, Refused
from console.options import Json, Options, Stack
from firstboot.errors import FleetInvalid
from firstboot.fleet import compiler
from firstboot.fleet.model import Fleet
from firstboot.publication import beyond_roles, needs_deployment

app = typer.Typer(no_args_is_help=True, help="Check, compare and publish the fleet definition.")

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="The fleet folder.")
]

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


@app.command()
def check(
    ctx: typer.Context, folder: Folder = Path("fleet"), *, stack: Stack = None, as_json: Json = False
) -> None:
    """Compile a fleet folder and say what is wrong with it; nothing leaves this machine."""
    options = Options.of(ctx, stack, as_json=as_json)
    try:
        fleet = compiler.load(folder)
    except FleetInvalid as error:
        _verdict({"valid": False, "hash": None, "problems": error.problems}, as_json=options.as_json)
        raise typer.Exit(output.REFUSED) from error
    _verdict({"valid": True, "hash": fleet.hash, "problems": []}, as_json=options.as_json)


@app.command()
def diff(
    ctx: typer.Context, folder: Folder = Path("fleet"), *, stack: Stack = None, as_json: Json = False
) -> None:
    """Say what applying a fleet folder would change of what is in force."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        comparison = _compare(load(folder), Operate(options.stack_name).fleets())
        output.result(comparison, _describe, as_json=options.as_json)


@app.command()
def apply(
    ctx: typer.Context, folder: Folder = Path("fleet"), *, stack: Stack = None, as_json: Json = False
) -> None:
    """Publish a fleet folder; devices feel it within a minute, until the next deployment."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        operate, fleet = Operate(options.stack_name), load(folder)
        fleets = operate.fleets()
        comparison = _compare(fleet, fleets)
        if comparison["changes"]:
            based = replace(fleet, base=fleets.deployed.hash)
            operate.call("fleet.apply", fleet=json.loads(based.to_json()))
        output.result(comparison, _describe_applied, as_json=options.as_json)


def load(folder: Path) -> Fleet:
    """The fleet definition in `folder`.

    Raises Refused.
    """
    try:
        return compiler.load(folder)
    except FleetInvalid as error:
        problem = {"code": error.code, "title": error.title, "detail": error.detail}
        raise Refused(problem | {"problems": error.problems}) from error


def _compare(fleet: Fleet, fleets: Fleets) -> output.Record:
    return {
        "changes": [asdict(change) for change in changes.between(fleets.in_force, fleet)],
        "needsDeployment": needs_deployment(fleets.deployed, fleet),
        "beyondRoles": beyond_roles(fleets.deployed, fleet),
    }


def _verdict(verdict: output.Record, *, as_json: bool) -> None:
    output.result(
        verdict, lambda each: each["problems"] or ["the fleet definition is valid"], as_json=as_json
    )


def _describe(comparison: output.Record) -> list[str | Text]:
    lines: list[str | Text] = []
    for change in comparison["changes"]:
        lines.append(Text(f"{change['part']}: {change['kind']}", style="bold"))
        lines += [Text(f"  {line}", style=_STYLES.get(line[0], "")) for line in change["diff"][2:]]
    lines += [f"needs a deployment: {reason}" for reason in comparison["needsDeployment"]]
    lines += [
        f"grant {name}: what it allows more than the deployed grants has no effect before a deployment"
        for name in comparison["beyondRoles"]
    ]
    return lines or ["nothing differs from what is in force"]


def _describe_applied(comparison: output.Record) -> list[str | Text]:
    if not comparison["changes"]:
        return ["nothing differs from what is in force; nothing was published"]
    return [*_describe(comparison), "published; devices feel it within a minute"]
