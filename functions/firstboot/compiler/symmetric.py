"""Check what `fleet.toml` says of devices that have a symmetric key, and of Azure's protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator

from firstboot.compiler.source import DEFINITION
from firstboot.domain.fleet import Fleet, Group

LONGEST = 64
"""Characters of an id scope. Azure documents none; its own have eleven, as `0ne00000A0B`."""

_ID_SCOPE = re.compile(r"[A-Za-z0-9]*", re.ASCII)
"""Id scopes. One is a segment of a path, so it has no character that a URL would escape."""


def problems(fleet: Fleet) -> list[str]:
    """Return what is wrong with the groups' symmetric keys and with the fleet's id scope."""
    found = [
        f"{DEFINITION}: groups.{group.name} {text}"
        for group in fleet.groups.values()
        for text in _of_group(group, fleet.id_scope)
    ]
    if not _ID_SCOPE.fullmatch(fleet.id_scope):
        found.append(f"{DEFINITION}: id_scope must consist of letters and digits, is {fleet.id_scope!r}")
    return found


def _of_group(group: Group, id_scope: str) -> Iterator[str]:
    if not group.trust and not group.symmetric_key:
        yield "has no file in trust and no symmetric_key, so it can admit no device"
    if group.symmetric_key and group.budget is None:
        # One key admits devices of any new name, as a claim certificate does.
        yield "has symmetric_key = true and must have a budget"
    if "dps" in group.ways and not id_scope:
        yield "has the way dps, and the fleet must have an id_scope"
