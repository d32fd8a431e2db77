"""`console devices explain`: which grants a device holds, and why, also for a device that need not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console import describe, fleet_folder, output, pairs, supposed
from console.attributes import Attributes
from console.cloud import Operate, Refused
from console.options import Json, Options, Stack
from firstboot.domain.fleet import Fleet
from firstboot.operate import answers
from firstboot.operate.explain import explain
from firstboot.operate.requests import ExplainDevice
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.messages import convert

_CLAIM = "claims."

_ANYWHERE = Place("{partition}", "{region}", "{account}")


Subject = Annotated[
    list[str],
    typer.Argument(metavar="ID | KEY=VALUE...", help="The device's id; with --group, attributes and claims."),
]
Group = Annotated[
    str | None,
    typer.Option(metavar="GROUP", help="Suppose a device of this group, which need not exist."),
]
ByFolder = Annotated[
    Path | None,
    typer.Option(
        "--fleet",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="Decide by this fleet folder, without AWS. Needs --group.",
    ),
]
Context = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE", help="Suppose this about the call: roleAlias=NAME, or sourceIp=ADDRESS."
    ),
]


def explain_(
    ctx: typer.Context,
    subject: Subject = [],  # noqa: B006 - typer needs the default's type
    *,
    group: Group = None,
    folder: ByFolder = None,
    context: Context = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Explain which grants a device holds, and why.

    The answer names the rules that give or withhold a grant, and shows what the device's sessions may do.

    Without a roleAlias, the answer is for every role alias, and for MQTT, which has none.

    With --group, the answer is for a supposed device with the id any-device, with these attributes, and with
    a claim for each `claims.KEY=VALUE`.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    about = pairs.split(context or [], "--context")
    if group is None and (len(subject) != 1 or folder):
        raise typer.BadParameter("give the id of one device, or --group", param_hint="ID")
    given = pairs.split(subject, "KEY=VALUE") if group else {}
    with output.failures(as_json=options.as_json):
        if group is None:
            operate = Operate(options.stack_name)
            explanation = operate.call("devices.explain", deviceId=subject[0], context=about)
        else:
            fleet, place = _fleet(options, folder)
            fleet_folder.group(fleet, folder or "the fleet in force", group)
            explanation = _supposed(fleet, place, group, given, about)
        output.result(
            explanation, lambda each: describe.explanation(each, output.width()), as_json=options.as_json
        )


def _fleet(options: Options, folder: Path | None) -> tuple[Fleet, Place]:
    """Return the fleet of the folder or, without one, that in force, and the place of its stack."""
    if folder:
        return fleet_folder.load(folder), _ANYWHERE
    operate = Operate(options.stack_name)
    return operate.fleets().in_force, operate.place


def _supposed(
    fleet: Fleet, place: Place, group: str, given: dict[str, str], about: dict[str, str]
) -> output.Record:
    """Return the explanation for a supposed device. Raises Refused."""
    schema = Attributes(fleet)
    claims = {name.removeprefix(_CLAIM): text for name, text in given.items() if name.startswith(_CLAIM)}
    values = {name: text for name, text in given.items() if not name.startswith(_CLAIM)}
    device = supposed.device(
        group, pairs.typed(values, schema.parse), pairs.typed(claims, schema.parse_claim)
    )
    try:
        asked = convert(ExplainDevice, {"deviceId": device.device_id, "context": about})
    except MalformedRequest as error:
        raise Refused({"code": error.code, "detail": error.detail}) from error
    return answers.explanation(device, explain(device, asked.contexts(fleet), Rules(fleet), place))
