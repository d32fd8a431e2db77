"""`console groups`: a group's budget, and the devices it expects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from console import describe, manifest, output
from console.attributes import Attributes
from console.cloud import Operate
from console.commands import keys
from console.options import Json, Options, Stack, command_group
from firstboot.policy.rules import Rules
from firstboot.policy.sums import Sums

app = command_group("Show groups, stop their enrollments, name devices beforehand.")
app.add_typer(keys.app, name="key")

AT_ONCE = 500
"""Devices in one call, which is as many as `operate` accepts."""

Group = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name in the fleet definition.")]
Manifest = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="CSV, with a column deviceId and one for each attribute. A manifest of `factory issue` will do.",
    ),
]


@app.command("list")
def list_(ctx: typer.Context, *, stack: Stack = None, as_json: Json = False) -> None:
    """List the groups with their numbers of devices by way in."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        operate = Operate(options.stack_name)
        states = [operate.call("groups.show", group=name) for name in operate.fleets().in_force.groups]
        output.result({"groups": states}, describe.groups, as_json=options.as_json)


@app.command()
def show(ctx: typer.Context, group: Group, *, stack: Stack = None, as_json: Json = False) -> None:
    """Show a group, what is left of its budget, and whether it is frozen."""
    _state(ctx, "groups.show", group, stack, as_json=as_json)


@app.command()
def freeze(ctx: typer.Context, group: Group, *, stack: Stack = None, as_json: Json = False) -> None:
    """Stop a group's enrollments. Devices that are enrolled are not affected."""
    _state(ctx, "groups.freeze", group, stack, as_json=as_json)


@app.command()
def thaw(ctx: typer.Context, group: Group, *, stack: Stack = None, as_json: Json = False) -> None:
    """Resume a frozen group's enrollments."""
    _state(ctx, "groups.thaw", group, stack, as_json=as_json)


def _state(ctx: typer.Context, operation: str, group: str, stack: str | None, *, as_json: bool) -> None:
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        state = Operate(options.stack_name).call(operation, group=group)
        output.result(state, describe.group, as_json=options.as_json)


@app.command()
def expect(
    ctx: typer.Context, group: Group, file: Manifest, *, stack: Stack = None, as_json: Json = False
) -> None:
    """Name devices of a group beforehand. With a claim certificate, only these can enroll.

    A device that has a record keeps it, attributes included, so the same file may be given again, with more
    rows too. A file with a mistake is refused as a whole.

    The exit code is 1 if every device of the file belongs to another group.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        total = manifest.check(file)
        operate = Operate(options.stack_name)
        fleet = operate.fleets().in_force
        attributes = Attributes(fleet)
        manifest.check_values(file, attributes, fleet.ids)
        manifest.check_space(file, fleet.group_of(group))
        manifest.check_sums(file, attributes, group, Sums(Rules(fleet), operate.place))
        devices = manifest.devices(file, attributes)
        new, known = 0, 0
        foreign: list[str] = []
        warnings: dict[str, None] = {}
        for part in manifest.batches(output.bar("devices", devices, total), AT_ONCE):
            answer = operate.call("groups.expect", group=group, devices=part)
            new, known = new + answer["new"], known + answer["known"]
            foreign += answer["foreign"]
            warnings |= dict.fromkeys(answer["warnings"])
        summary = {
            "group": group,
            "expected": total - len(foreign),
            "new": new,
            "known": known,
            "foreign": foreign,
            "warnings": list(warnings),
        }
        output.result(summary, _described, as_json=options.as_json)
        if len(foreign) == total:
            raise typer.Exit(output.REFUSED)


def _described(summary: dict[str, Any]) -> list[str | Text]:
    expected, new, known = (f"{summary[name]:,}" for name in ("expected", "new", "known"))
    line = f"{summary['group']} expects {expected} devices of the file: {new} new, {known} known before"
    foreign = [f"left out, of another group: {name}" for name in summary["foreign"]]
    return [line, *foreign, *output.warnings(summary)]
