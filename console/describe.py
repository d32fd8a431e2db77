"""Describe devices, groups and explanations in words. No input or output.

Attributes, claims, policies and dead letters are shown as JSON in ASCII, and all other texts that may contain
what a device or a CA has chosen without invisible characters: none of them begins a line of its own.

`width` is how many columns a line may have; None is no limit. A line ends only between two values, so ids and
fingerprints stay whole.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from console.visible import visible
from firstboot.policy.limits import SESSION_POLICY

Record = dict[str, Any]

_COLUMNS = (24, 16, 9, 20)
_HEADER = ("DEVICE", "GROUP", "STATUS", "CERTIFICATE UNTIL", "ATTRIBUTES")
_SAID_BY_OTHERS = ("attributes", "claims", "pendingClaims")


def header(width: int | None = None) -> str:
    """Return the first line of a list of devices."""
    return _joined(_padded(_HEADER), width)


def row(device: Record, width: int | None = None) -> str:
    """Return a device of a list: one line, or as many as `width` takes."""
    until = device["active"]["notAfter"] if device["active"] else "-"
    cells = (device["deviceId"], device["group"], device["status"], until)
    return _joined([*_padded(cells), *_suspicion(device), *_pairs(device["attributes"])], width)


def _suspicion(device: Record) -> list[str]:
    """Return why a device of `devices list --suspect` is in the list."""
    if "suspicions" not in device:
        return []
    times = len(device["enrollments"])
    return [f"{' and '.join(device['suspicions'])} ({times} enrollments)"]


def _padded(cells: Sequence[str]) -> list[str]:
    columns = (*_COLUMNS, *[0] * len(cells))
    return [f"{cell:<{size}}" for cell, size in zip(cells, columns, strict=False)]


def _joined(cells: Sequence[str], width: int | None, indent: int = 2, space: str = "  ") -> str:
    """Return the cells on lines of at most `width` columns. A cell is never broken."""
    lines = [cells[0]]
    for cell in cells[1:]:
        longer = f"{lines[-1]}{space}{cell}"
        if width is None or len(longer.rstrip()) <= width:
            lines[-1] = longer
        else:
            lines.append(" " * indent + cell)
    return "\n".join(line.rstrip() for line in lines)


def _pairs(values: Record) -> list[str]:
    return [f"{json.dumps(name)[1:-1]}={json.dumps(value)}" for name, value in values.items()]


def device(record: Record, width: int | None = None) -> list[str]:
    """Describe a device record, one member on a line."""
    size = max(len(name) for name in record)
    return [_joined([f"{name:<{size}}", *_member(name, value)], width) for name, value in record.items()]


def _member(name: str, value: object) -> list[str]:
    match value:
        case None:
            return ["-"]
        case dict() if not value:
            # The commit of the pending certificate removes all claims.
            return ["none"] if name == "pendingClaims" else ["-"]
        case dict() if name in _SAID_BY_OTHERS:
            return _pairs(value)
        case list():
            texts = [_enrollment(each) for each in value] if name == "enrollments" else map(str, value)
            return [visible(", ".join(texts)) or "-"]
        case dict():
            return [visible(f"{key}={each}") for key, each in value.items()]
        case _:
            return [visible(str(value))]


def _enrollment(enrolled: Record) -> str:
    keys = f"key {enrolled['key']} by {enrolled['bootstrapKey']}"
    return f"{enrolled['at']} generation {enrolled['generation']} {keys}"


_REPAIRS = {
    None: "the device has no active certificate",
    "stored": "certificate {serial} is stored as it should be",
    "version": "certificate {serial} was brought back from an older version of its object",
    "aws-iot": "certificate {serial} was brought back from AWS IoT",
}


def repair(found: Record) -> list[str]:
    """Describe where a repair found the certificate."""
    return [f"{found['deviceId']}: {_REPAIRS[found['source']].format(serial=found['serial'])}"]


def password(made: Record) -> list[str]:
    """Describe a one-time password, which is shown this one time."""
    return [
        f"user         {made['deviceId']}",
        f"password     {made['password']}",
        f"group        {made['group']}",
        f"until        {made['expiresAt']}",
    ]


def groups(shown: Record) -> list[str]:
    """Describe each group in one line, with its numbers of devices by way."""
    names = [state["group"] for state in shown["groups"]]
    size = max(map(len, ("GROUP", *names)))
    ways = [", ".join(map(_way, state.get("ways", []))) for state in shown["groups"]]
    frozen = ["frozen" if state["frozenAt"] else "-" for state in shown["groups"]]
    rows = [("GROUP", "FROZEN", "DEVICES BY WAY"), *zip(names, frozen, ways, strict=True)]
    return [f"{name:<{size}}  {state:<6}  {each}".rstrip() for name, state, each in rows]


def group(state: Record) -> list[str]:
    """Describe a group, its budget, whether it is frozen, and its devices by anchor and by way."""
    budget = state["budget"]
    frozen = f"since {state['frozenAt']}: it enrolls no device" if state["frozenAt"] else "no"
    return [
        f"group        {state['group']}",
        f"device id    {state['deviceId']}",
        f"re-enroll    {state['reenroll']}",
        *(_budget(budget) if budget else ["budget       none: enrollments are neither counted nor limited"]),
        f"frozen       {frozen}",
        *[line for anchor in state["anchors"] for line in _anchor(anchor)],
        *[f"way          {_way(way)}" for way in state.get("ways", [])],  # an older version has none
        f"counted      {state['anchorsCountedAt'] or 'not yet: the sweep counts devices once a day'}",
    ]


def _anchor(counted: Record) -> list[str]:
    unnamed = "(removed from the fleet)" if counted["anchor"] else "(records without an anchor)"
    # The subject is text of the CA. It may be longer than a line, and must not write to the terminal.
    subject = textwrap.wrap(visible(counted["subject"]) if counted["subject"] else unnamed, 64)
    count = "not counted" if counted["devices"] is None else f"{counted['devices']:,} devices"
    return [
        f"anchor       {counted['anchor'] or '-'}",
        *[f"             {each}" for each in (*subject, count)],
    ]


def _way(counted: Record) -> str:
    closed = " (closed)" if counted["way"] and not counted["allowed"] else ""
    count = "not counted" if counted["devices"] is None else f"{counted['devices']:,}"
    return f"{counted['way'] or 'none recorded'}: {count}{closed}"


def _budget(budget: Record) -> list[str]:
    hour = budget["freezePerHour"]
    until = last_day(datetime.fromisoformat(budget["until"]))
    return [
        f"budget       {budget['spent']:,} of {budget['total']:,} enrollments",
        f"             {budget['perMinute']:,} a minute"
        + (f", frozen above {hour:,} an hour" if hour else ""),
        f"             until {until}, the last day (UTC)",
    ]


def letters(shown: Record) -> list[str]:
    """Describe dead letters, one on a line, and how many more there are."""
    lines = ["  ".join([each.pop("sentAt"), *_pairs(each)]) for each in map(dict, shown["letters"])]
    more = shown["waiting"] - len(lines)
    return [*lines, f"and about {more:,} more"] if more > 0 else lines or ["none"]


def last_day(until: datetime) -> str:
    """Return the last day (UTC) before `until`, as fleet.toml has it: `2036-12-31`."""
    return (until.astimezone(UTC) - timedelta(seconds=1)).date().isoformat()


def explanation(record: Record, width: int | None = None) -> list[str]:
    """Describe what a device holds in each request context, and by which rules.

    The contexts are the member `moments` of the answer.
    """
    head = [record["deviceId"], f"({record['status']},", f"group {record['group']})"]
    lines = [_joined(head, width, space=" ")]
    for context in record["moments"]:
        alias = context["roleAlias"]
        lines += ["", f"role alias {alias}" if alias else "MQTT (no role alias)", *_holdings(context, width)]
    return lines


def _holdings(context: Record, width: int | None) -> list[str]:
    lines = [
        *[_held(held, "by", width) for held in context["grants"]],
        *[_held(held, "withheld by", width) for held in context["withheld"]],
        *[f"  error: {error!a}" for error in context["errors"]],
    ]
    if context["refusal"]:
        return [*lines, f"  refused, {context['refusal']['code']}: {visible(context['refusal']['detail'])}"]
    return lines + _policy(context["sessionPolicy"])


def _held(held: Record, how: str, width: int | None) -> str:
    first, *others = held["rules"]
    rules = [f"{how} {first}", *others]
    cells = [f"{rule}," for rule in rules[:-1]] + rules[-1:]
    return _joined([f"  {held['grant']:<24} ", *cells], width, indent=4, space=" ")


def _policy(document: Record | None) -> list[str]:
    if document is None:
        return []
    size = len(json.dumps(document, separators=(",", ":")))
    text = json.dumps(document, indent=2).splitlines()
    return [
        f"  session policy ({size:,} of {SESSION_POLICY:,} characters)",
        *[f"    {line}" for line in text],
    ]
