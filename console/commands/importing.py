"""`console devices import`: devices that AWS IoT knows already get their records here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from console import manifest, output, values
from console.cloud import Operate
from console.options import Json, Options, Stack

AT_ONCE = 20
"""Devices a call: as many as `operate` takes."""

Rate = Annotated[
    int,
    typer.Option(
        min=1,
        max=AT_ONCE,
        metavar="N",
        help="Devices a second that AWS IoT is asked about. It takes ten ListThingPrincipals and ten "
        "DescribeCertificate a second, for everyone in the account.",
    ),
]


@dataclass
class _Done:
    """What became of the devices so far: how many, and why some were refused."""

    imported: int = 0
    known: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def import_(
    ctx: typer.Context,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group that the devices come into.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="CSV; the column deviceId, which is the thing's name, and one for each attribute.",
        ),
    ],
    *,
    rate: Rate = 5,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Bring devices that AWS IoT knows into a group: things with one ACTIVE certificate each.

    A device that has a record keeps it. So after an interruption, or with a longer file, give the
    command again: it is soon where it was.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        total = manifest.check(file)
        operate = Operate(options.stack_name)
        devices = manifest.devices(file, values.fitting(operate.fleets().in_force))
        done = _Done()
        for part in manifest.batches(output.bar("devices", devices, total), rate):
            _import(operate, group, part, done, rate)
        summary = {
            "group": group,
            "imported": done.imported,
            "known": done.known,
            "refused": [{"deviceId": name, "reason": why} for name, why in done.refused.items()],
        }
        output.result(summary, _described, as_json=options.as_json)


def _import(operate: Operate, group: str, part: dict[str, Any], done: _Done, rate: int) -> None:
    begun = time.monotonic()
    answer = operate.call("devices.import", group=group, devices=part)
    done.imported += len(answer["imported"])
    done.known += len(answer["known"])
    done.refused |= answer["refused"]
    asked = len(answer["imported"]) + len(answer["refused"])  # AWS IoT knows nothing of the others
    time.sleep(max(0.0, asked / rate - (time.monotonic() - begun)))


def _described(summary: dict[str, Any]) -> list[str]:
    lines = [
        f"{summary['imported']:,} devices imported into {summary['group']}, {summary['known']:,} known before"
    ]
    return lines + [f"refused: {each['deviceId']}: {each['reason']}" for each in summary["refused"]]
