"""`fleet.toml` to groups, role aliases and token issuers, and back."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from firstboot.compiler.keys import ROOT, Definition
from firstboot.compiler.kinds import Reading
from firstboot.compiler.source import DEFINITION
from firstboot.domain.fleet import Fleet, Group, TokenIssuer


def read(values: dict[str, Any], problems: list[str]) -> Definition:
    """Read parsed TOML. Add what is wrong to `problems`."""
    definition = ROOT.read("", values, Reading(DEFINITION, problems))
    problems += _conflicts(definition.issuers, definition.groups)
    return definition


def write(definition: Definition | Fleet) -> dict[str, Any]:
    """Return the parsed TOML that `read` makes the definition of."""
    return ROOT.write(definition)


def _conflicts(issuers: dict[str, TokenIssuer], groups: dict[str, Group]) -> list[str]:
    """Say what is wrong between issuers, and between them and the groups that they make tokens for."""
    problems = [
        f"{DEFINITION}: issuers.{issuer.name}.groups names {group!r}{reason}"
        for issuer in issuers.values()
        for group in issuer.groups
        if (reason := _unfit(groups.get(group)))
    ]
    return problems + [
        f"{DEFINITION}: issuers.{one.name} and issuers.{other.name} are the same issuer: a token names one"
        for one, other in combinations(issuers.values(), 2)
        if one.issuer and one.issuer == other.issuer
    ]


def _unfit(group: Group | None) -> str | None:
    if group is None:
        return ": there is no such group"
    if group.mqtt != "token":
        return ', whose devices connect with certificates; set its mqtt = "token" first'
    return None
