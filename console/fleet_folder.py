"""The fleet folder, compiled for the commands that need it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from console.cloud import Refused
from firstboot.compiler import fleet as compiler
from firstboot.compiler.errors import FleetInvalid
from firstboot.compiler.source import DEFINITION
from firstboot.domain.fleet import Fleet, Group


def decided_eku(folder: Path) -> set[str]:
    """Return the groups of a valid fleet folder whose definition has the key `eku`."""
    groups = tomllib.loads((folder / DEFINITION).read_text())["groups"]
    return {name for name, group in groups.items() if "eku" in group}


def load(folder: Path) -> Fleet:
    """Return the compiled fleet of `folder`.

    Raises Refused, with every problem that the compiler found.
    """
    try:
        return compiler.load(folder)
    except FleetInvalid as error:
        problem = {"code": error.code, "title": error.title, "detail": error.detail}
        raise Refused(problem | {"problems": error.problems}) from error


def group(fleet: Fleet, folder: Path | str, name: str) -> Group:
    """Return the group `name` of a fleet, whose place `folder` is for the message of a refusal.

    Raises Refused.
    """
    if name not in fleet.groups:
        detail = f"{folder} has no group {name}; it has {', '.join(fleet.groups)}"
        raise Refused({"code": "group-unknown", "detail": detail})
    return fleet.groups[name]
