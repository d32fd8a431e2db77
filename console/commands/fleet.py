"""`console fleet`: check, compare and publish the fleet definition. `check` needs no AWS."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from console import changes, excess, output, reach, rollout, scopes
from console.cloud import Fleets, Operate, Refused
from console.commands import reporting, testing
from console.fleet_folder import decided_eku, load
from console.options import Folder, Json, Options, Stack, Yes, command_group
from firstboot.compiler import fleet as compiler
from firstboot.compiler import outlook, sums, topic_limits, ways
from firstboot.compiler.deployment import beyond_roles, needs_deployment
from firstboot.compiler.errors import FleetInvalid
from firstboot.domain.fleet import Fleet
from firstboot.policy.service import bootstrap_client_id

_UNREADABLE = (
    "the published fleet can't be read, so this compares with the deployed one; functions that had read a "
    "fleet keep it, and others answer 503 until `fleet apply` publishes a readable one"
)

_ORPHANS = {"code": "fleet-orphans-devices", "title": "Groups with devices are not in the folder"}

app = command_group("Check, compare and publish the fleet definition.")

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


@app.command()
def check(
    ctx: typer.Context, folder: Folder = Path("fleet"), *, stack: Stack = None, as_json: Json = False
) -> None:
    """Compile a fleet folder and print every problem.

    The command calls no other machine. The exit code is 1 if there is a problem. It also has the verifier of
    bootstrap certificates try each trust anchor: an anchor that has expired, or ends soon, is a warning. So
    are grants that a device might hold together, and that do not fit into a session policy.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        try:
            fleet = compiler.load(folder)
        except FleetInvalid as error:
            empty: dict[str, list[str]] = {"warnings": [], "sharedGrants": [], "forbidsByClaim": []}
            invalid: output.Record = {
                "valid": False,
                "hash": None,
                "problems": error.problems,
                "clientIds": {},
            } | empty
            _verdict(invalid, as_json=options.as_json)
            raise typer.Exit(output.REFUSED) from error
        warnings = _warnings(fleet) + outlook.beyond_clients(fleet, decided_eku(folder))
        valid = {"valid": True, "hash": fleet.hash, "problems": [], "warnings": warnings}
        valid |= _marks(fleet) | {"clientIds": _client_ids(fleet)}
        _verdict(valid, as_json=options.as_json)


@app.command()
def diff(
    ctx: typer.Context, folder: Folder = Path("fleet"), *, stack: Stack = None, as_json: Json = False
) -> None:
    """Compare a fleet folder with the fleet in force.

    Where they differ, the command also counts the devices whose policies in AWS IoT would change, those
    that would hold more grants than fit, and those of each group, trust anchor and way in that changes.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        operate, fleet = Operate(options.stack_name), load(folder)
        fleets = operate.fleets()
        comparison = _compare(fleet, fleets)
        if comparison["changes"]:
            comparison |= _planned(operate, fleet, fleets.in_force)
        output.result(comparison, _describe, as_json=options.as_json)


@app.command()
def apply(
    ctx: typer.Context,
    folder: Folder = Path("fleet"),
    *,
    yes: Yes = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the sweep has read every device record.")
    ] = True,
    orphan: Annotated[
        int | None,
        typer.Option("--orphan", metavar="N", min=0, help="The number of devices that lose their group."),
    ] = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Publish a fleet folder.

    It is in force within a minute, until the next deployment.

    A fleet is refused if its rules would give a device more grants than fit into a session policy. A group
    with devices can't go unless another group names it in `formerly`, or `--orphan` says how many devices
    lose their group; `fleet diff` counts them.

    The command asks first if standard input is a terminal and policies of devices in AWS IoT will change. If
    you interrupt it while it waits, the folder is published all the same.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        operate, fleet = Operate(options.stack_name), load(folder)
        fleets = operate.fleets()
        comparison = _compare(fleet, fleets)
        if not comparison["changes"] and fleets.readable:
            output.result(comparison, _describe_nothing, as_json=options.as_json)
            return
        based = replace(fleet, base=fleets.deployed.hash)
        # `operate` refuses a fleet that needs a deployment, so there is nothing to count or to ask.
        if not comparison["needsDeployment"]:
            comparison |= _planned(operate, based, fleets.in_force)
        if not options.as_json:
            output.lines(_describe(comparison))
        excess.check(comparison.get("excess", excess.none()))
        stated = _stated(comparison.get("orphans", {}), orphan)
        touched = comparison.get("devices", {"touched": 0})["touched"]
        if touched:
            question = f"Publish, and change the policies of {touched:,} devices in AWS IoT?"
            output.confirm(f"{question} ({operate.where})", yes=yes)
        comparison |= _publish(operate, based, fleets.mark, stated)
        if wait and touched:
            comparison["progress"] = rollout.follow(operate, comparison["devices"]["scanned"])
        output.result(comparison, _describe_published, as_json=options.as_json)


@app.command()
def progress(ctx: typer.Context, *, stack: Stack = None, as_json: Json = False) -> None:
    """Show how far AWS IoT follows the fleet in force."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        state = Operate(options.stack_name).call("fleet.progress")
        output.result(state, rollout.describe, as_json=options.as_json)


app.command("report")(reporting.report_)
app.command("test")(testing.run_tests)


def _publish(operate: Operate, fleet: Fleet, mark: str, stated: output.Record) -> output.Record:
    return operate.call("fleet.apply", fleet=json.loads(fleet.to_json()), inForce=mark, **stated)


def _stated(orphans: dict[str, int], orphan: int | None) -> output.Record:
    """Return the parameter of `fleet.apply` about devices that lose their group. Raises Refused."""
    total = sum(orphans.values())
    if orphan is None and total:
        names = ", ".join(name for name, count in orphans.items() if count)
        detail = f"{total:,} devices of {names} would be in no group: name it in the `formerly` of a group"
        raise Refused(_ORPHANS | {"detail": f"{detail}, or say `--orphan {total}`"})
    if orphan not in (None, total):
        raise Refused(_ORPHANS | {"detail": f"{total:,} devices lose their group, not {orphan:,}"})
    return {"orphan": orphans} if orphans else {}


def _compare(fleet: Fleet, fleets: Fleets) -> output.Record:
    return {
        "changes": [asdict(change) for change in changes.between(fleets.in_force, fleet)],
        "readable": fleets.readable,
        "needsDeployment": needs_deployment(fleets.deployed, fleet),
        "beyondRoles": beyond_roles(fleets.deployed, fleet),
        **_marks(fleet),
        "warnings": _warnings(fleet),
    }


def _planned(operate: Operate, fleet: Fleet, before: Fleet) -> output.Record:
    """Return how many devices the fleet touches that comes after the fleet `before`."""
    devices = rollout.plan(operate, fleet)
    counts = reach.Counted(devices.pop("groups"), devices.pop("anchors"), devices.pop("ways"))
    return {
        "devices": devices,
        "excess": devices.pop("excess"),
        "orphans": reach.orphans(before, fleet, counts.groups),
        "reach": [asdict(each) for each in reach.between(before, fleet, counts)],
    }


def _marks(fleet: Fleet) -> output.Record:
    """Return what a reviewer of a fleet should look at, although it is valid."""
    return {"sharedGrants": fleet.shared_grants, "forbidsByClaim": scopes.forbids_by_claim(fleet)}


def _client_ids(fleet: Fleet) -> dict[str, str]:
    """Return the form of the MQTT client ids with which the devices of each group enroll."""
    return {name: bootstrap_client_id(group, "{deviceId}") for name, group in fleet.groups.items()}


def _verdict(verdict: output.Record, *, as_json: bool) -> None:
    output.result(verdict, _describe_verdict, as_json=as_json)


def _describe_verdict(verdict: output.Record) -> list[str | Text]:
    clients = [
        f"group {group}: with their bootstrap certificates, devices connect over MQTT as {client_id}"
        for group, client_id in verdict["clientIds"].items()
    ]
    valid = ["the fleet definition is valid", *clients, *_marked(verdict), *output.warnings(verdict)]
    return verdict["problems"] or valid


def _marked(result: output.Record) -> list[str | Text]:
    return [
        *(
            f"grant {name} is shared: every device that holds it can write what the others read"
            for name in result["sharedGrants"]
        ),
        *(
            f"rule {name} forbids by a claim: it is no barrier, because a device may claim anything"
            for name in result["forbidsByClaim"]
        ),
    ]


def _warnings(fleet: Fleet) -> list[str]:
    found = outlook.warnings(fleet, datetime.now(UTC)) + sums.warnings(fleet)
    return found + topic_limits.warnings(fleet) + ways.warnings(fleet)


def _describe(comparison: output.Record) -> list[str | Text]:
    lines: list[str | Text] = []
    if not comparison["readable"]:
        lines.append(Text(_UNREADABLE, style="red"))
    for change in comparison["changes"]:
        lines.append(Text(f"{change['part']}: {change['kind']}", style="bold"))
        lines += [Text(f"  {line}", style=_STYLES.get(line[0], "")) for line in change["diff"][2:]]
    lines += [f"needs a deployment: {reason}" for reason in comparison["needsDeployment"]]
    lines += [
        f"grant {name}: what it allows beyond the deployed grants has no effect before a deployment"
        for name in comparison["beyondRoles"]
    ]
    lines += [f"{each['change']}: {each['devices']:,} devices" for each in comparison.get("reach", [])]
    if "devices" in comparison:
        lines += [rollout.planned(comparison["devices"]), *excess.describe(comparison["excess"])]
    lines = lines or ["nothing differs from the fleet in force"]
    return [*lines, *_marked(comparison), *output.warnings(comparison)]


def _describe_nothing(_: output.Record) -> list[str | Text]:
    return ["nothing differs from the fleet in force; nothing was published"]


def _describe_published(comparison: output.Record) -> list[str | Text]:
    """Describe the publication itself. `_describe` has printed the changes before."""
    progress = rollout.describe(comparison["progress"]) if "progress" in comparison else []
    unchecked = comparison.get("uncheckedGroups")
    note = (
        [f"{unchecked:,} groups were not checked for grants that are too large together"] if unchecked else []
    )
    return ["published; in force within a minute", *note, *progress]
