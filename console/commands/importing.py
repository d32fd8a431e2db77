"""`console devices import`: give device records to devices that AWS IoT has already."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from console import manifest, output
from console.attributes import Attributes
from console.cloud import Operate
from console.options import Json, Options, Stack
from console.visible import visible
from firstboot.policy.rules import Rules
from firstboot.policy.sums import Sums

AT_ONCE = 20
"""Devices in one call, which is as many as `operate` accepts."""

Rate = Annotated[
    int,
    typer.Option(
        min=1,
        max=AT_ONCE,
        metavar="N",
        help="Devices a second that AWS IoT is asked about. It accepts ten ListThingPrincipals and ten "
        "DescribeCertificate a second, from all callers in the account together.",
    ),
]


@dataclass
class _Done:
    """The devices so far: how many were imported, how many had a record, and why some were refused.

    `warnings` are those of all answers, each once.
    """

    imported: int = 0
    known: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)


def import_(
    ctx: typer.Context,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group of the imported devices.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="CSV, with a column deviceId, which is the thing's name, and one for each attribute.",
        ),
    ],
    *,
    rate: Rate = 5,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Import devices of AWS IoT into a group.

    They are things that have exactly one ACTIVE certificate each.

    A device that has a record keeps it, and its attributes in the file are ignored. So after an
    interruption, or with more rows in the file, run the command again: it skips those devices quickly.

    The exit code is 1 if no device was imported and some were refused. It is 0 if every device of the file
    has a record already, or if some were imported; the output lists the refused ones.
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
        done = _Done()
        for part in manifest.batches(output.bar("devices", devices, total), rate):
            _import(operate, group, part, done, rate)
        summary = {
            "group": group,
            "imported": done.imported,
            "known": done.known,
            "refused": [{"deviceId": name, "reason": why} for name, why in done.refused.items()],
            "warnings": list(done.warnings),
        }
        output.result(summary, _described, as_json=options.as_json)
        if done.refused and not done.imported:
            raise typer.Exit(output.REFUSED)


def _import(operate: Operate, group: str, part: dict[str, Any], done: _Done, rate: int) -> None:
    begun = time.monotonic()
    answer = operate.call("devices.import", group=group, devices=part)
    done.imported += len(answer["imported"])
    done.known += len(answer["known"])
    done.refused |= answer["refused"]
    done.warnings |= dict.fromkeys(answer.get("warnings", ()))
    asked = len(answer["imported"]) + len(answer["refused"])  # a known device costs no call of AWS IoT
    time.sleep(max(0.0, asked / rate - (time.monotonic() - begun)))


def _described(summary: dict[str, Any]) -> list[str | Text]:
    lines: list[str | Text] = [f"{summary['imported']:,} devices imported into {summary['group']}"]
    if summary["known"]:
        lines.append(f"{summary['known']:,} devices have a record already and keep it")
    lines += [f"refused: {each['deviceId']}: {visible(each['reason'])}" for each in summary["refused"]]
    return lines + output.warnings(summary)
