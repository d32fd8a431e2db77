"""`console groups`: a group's budget, and the devices it expects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from console import describe, manifest, output, values
from console.cloud import Operate
from console.options import Json, Options, Stack

app = typer.Typer(no_args_is_help=True, help="Look at groups, stop enrollments, name devices beforehand.")

AT_ONCE = 500
"""Devices a call: as many as `operate` takes."""

Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name in the fleet definition.")]
Manifest = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="CSV; the column deviceId, and one for each attribute. Such as `factory issue` made it, too.",
    ),
]


@app.command()
def show(ctx: typer.Context, group: Group, *, stack: Stack = None, as_json: Json = False) -> None:
    """Show a group, what is left of its budget, and whether it is frozen."""
    _state(ctx, "groups.show", group, stack, as_json=as_json)


@app.command()
def freeze(ctx: typer.Context, group: Group, *, stack: Stack = None, as_json: Json = False) -> None:
    """Take no enrollments of a group any more. Devices that are enrolled don't feel it."""
    _state(ctx, "groups.freeze", group, stack, as_json=as_json)


@app.command()
def thaw(ctx: typer.Context, group: Group, *, stack: Stack = None, as_json: Json = False) -> None:
    """Take enrollments of a frozen group again."""
    _state(ctx, "groups.thaw", group, stack, as_json=as_json)


def _state(ctx: typer.Context, operation: str, group: str, stack: str | None, *, as_json: bool) -> None:
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        state = Operate(options.stack_name).call(operation, group=group)
        output.result(state, describe.device, as_json=options.as_json)


@app.command()
def expect(
    ctx: typer.Context, group: Group, file: Manifest, *, stack: Stack = None, as_json: Json = False
) -> None:
    """Name devices of a group before they come: only these enroll with a claim certificate.

    A device that is known already keeps its record, so the same file may be given again, and a
    longer one too.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        total = manifest.check(file)
        operate = Operate(options.stack_name)
        devices = manifest.devices(file, values.fitting(operate.fleets().in_force))
        foreign: list[str] = []
        for part in manifest.batches(output.bar("devices", devices, total), AT_ONCE):
            foreign += operate.call("groups.expect", group=group, devices=part)["foreign"]
        summary = {"group": group, "expected": total - len(foreign), "foreign": foreign}
        output.result(summary, _described, as_json=options.as_json)


def _described(summary: dict[str, Any]) -> list[str]:
    lines = [f"{summary['group']} expects {summary['expected']:,} devices of the file"]
    return lines + [f"left out, of another group: {name}" for name in summary["foreign"]]
