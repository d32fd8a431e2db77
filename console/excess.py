"""The devices whose grants are too large together, counted over all pages of a plan. No input or output."""

from __future__ import annotations

from rich.text import Text

from console.cloud import Refused
from console.output import Record

_EXAMPLES = 3

_WORDS = {
    "certain": "would hold more grants than fit, and get no credentials or no connection",
    "known": "would hold more grants than fit, as under the fleet in force",
    "possible": "would hold more grants than fit for requests from some addresses",
}


def none() -> Record:
    """Return the count before the first page."""
    return {kind: {"devices": 0, "examples": []} for kind in _WORDS}


def add(total: Record, page: Record) -> None:
    """Add the count of a page of device records to the total."""
    for kind, found in page.items():
        total[kind]["devices"] += found["devices"]
        total[kind]["examples"] = [*total[kind]["examples"], *found["examples"]][:_EXAMPLES]


def describe(total: Record) -> list[Text]:
    """Describe the count: a line for each kind of excess that a device has, and one for each example."""
    lines = []
    for kind, words in _WORDS.items():
        if total[kind]["devices"]:
            style = "red" if kind == "certain" else "yellow"
            start = "" if kind == "certain" else "warning: "
            lines.append(Text(f"{start}{_devices(total[kind])} {words}; for example", style=style))
            lines += [Text(f"  {_example(each)}", style=style) for each in total[kind]["examples"]]
    return lines


def check(total: Record) -> None:
    """Refuse a fleet that would refuse the requests of devices which the fleet in force serves.

    Raises Refused.
    """
    certain = total["certain"]
    if certain["devices"]:
        examples = "; ".join(map(_example, certain["examples"]))
        over_mqtt = certain["examples"][0]["roleAlias"] is None
        code = "policies-too-large" if over_mqtt else "session-policy-too-large"
        devices = f"{_devices(certain)} {_WORDS['certain']}"
        raise Refused({"code": code, "detail": f"{devices}; nothing was published: {examples}"})


def _devices(counted: Record) -> str:
    return f"{counted['devices']:,} {'device' if counted['devices'] == 1 else 'devices'}"


def _example(found: Record) -> str:
    return f"{found['deviceId']}: {found['excess']}"
