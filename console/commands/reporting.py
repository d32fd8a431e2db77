"""The command `console fleet report`: a fleet definition summarised for a security reviewer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from console import cloud, fleet_folder, output, report
from console.cloud import Unreachable
from console.files import naming
from console.options import Folder, Json, Options
from console.page import page
from firstboot.policy.render import Place

_EXAMPLE = Place("aws", "us-east-1", "123456789012")
_FOLDER_ONLY = (
    "Left out: the roles are in the deployed template, and this report is about the fleet folder alone. "
    "With --stack, the report has them."
)


def report_(
    ctx: typer.Context,
    folder: Folder = Path("fleet"),
    *,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Write a page for a reviewer into this file."),
    ] = None,
    stack: Annotated[
        str | None, typer.Option(metavar="NAME", help="Also report the roles of this deployed stack.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Report what a fleet folder lets devices do.

    With --stack, the report also has the roles of the deployed stack and which of them may sign. Without
    --stack, the command calls no other machine.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        made = _gathered(folder, options.stack)
        if html:
            with naming(html):
                html.write_text(page(made), encoding="utf-8")
        written = {"html": str(html) if html else None}
        output.result(made.summary() | written, _described, as_json=options.as_json)


def _gathered(folder: Path, stack: str | None) -> report.Report:
    definition, now = fleet_folder.load(folder), datetime.now(UTC)
    if stack is None:
        return report.gather(definition, _EXAMPLE, now, None, _FOLDER_ONLY)
    try:
        deployed = cloud.deployed(stack)
    except Unreachable as error:
        output.note(str(error))
        return report.gather(definition, _EXAMPLE, now, None, f"Left out: {error}.")
    return report.gather(definition, deployed.place, now, deployed)


def _described(summary: output.Record) -> list[str]:
    lines = [
        f"{summary['groups']} groups, {summary['grants']} grants, {summary['rules']} rules",
        *(
            f"{p['name']}: {p['kind']}, {p['characters']:,} of {p['limit']:,} characters"
            for p in summary["policies"]
        ),
        *(
            f"trust anchor of {a['group']}: {a['subject']}{'' if a['valid'] else ' (NOT VALID NOW)'}"
            for a in summary["anchors"]
        ),
    ]
    if summary["signers"] is not None:
        lines.append(f"may sign: {', '.join(summary['signers']) or 'none'}")
    return [*lines, f"written: {summary['html']}"] if summary["html"] else lines
