"""Check what the groups of `fleet.toml` say of their devices' ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from firstboot.compiler.globs import meet
from firstboot.compiler.source import DEFINITION
from firstboot.domain.fleet import Group

_WHOLE = ("request.deviceId", "key.sha256")
"""Sources of which no part may be the id.

A device chooses its request anyway, and a part of a hash could be the same for two keys.
"""


def problems(groups: Mapping[str, Group]) -> list[str]:
    """Return what is wrong with the sources of ids, and with the spaces that the ids are in."""
    found = [(group.name, text) for group in groups.values() for text in _sources(group)]
    found += [(group.name, text) for group in groups.values() for text in _sharing(group, groups)]
    return [f"{DEFINITION}: groups.{name} {text}" for name, text in found] + list(_overlaps(groups))


def _sources(group: Group) -> Iterator[str]:
    stripped = group.strip_prefix or group.strip_suffix
    if group.pattern and stripped:
        yield "has `pattern` beside `strip_prefix` or `strip_suffix`: give the pattern the whole form"
    if group.device_id in _WHOLE and (stripped or group.pattern):
        yield f"has device_id = {group.device_id!r}, of which nothing can be stripped or extracted"
    if group.device_id == "san.dns" and stripped != stripped.lower():
        yield "strips capital letters, and a DNS name is read in lower case"


def _sharing(group: Group, groups: Mapping[str, Group]) -> Iterator[str]:
    for name in group.shares_ids_with:
        if name not in groups or name == group.name:
            yield f"has {name!r} in shares_ids_with: there is no other group of this name"


def _overlaps(groups: Mapping[str, Group]) -> Iterator[str]:
    """Yield a problem for each two groups that could give two devices one id, and don't say so."""
    # A fleet without `ids` is as it was before the key existed: each group may use each free id.
    if all(group.ids == "*" for group in groups.values()):
        return
    for one, other in combinations(groups.values(), 2):
        said = other.name in one.shares_ids_with or one.name in other.shares_ids_with
        if not said and meet(one.ids, other.ids):
            yield (
                f"{DEFINITION}: groups.{one.name}.ids = {one.ids!r} and groups.{other.name}.ids = "
                f"{other.ids!r} have ids in common: make them apart, or name one group in the other's "
                "shares_ids_with"
            )
