"""Read `fleet.toml` as groups, role aliases and token issuers, and write it back."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from firstboot.compiler import naming, ways
from firstboot.compiler.keys import ROOT, Definition
from firstboot.compiler.kinds import Reading
from firstboot.compiler.source import DEFINITION
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.token_issuer import TokenIssuer


def read(values: dict[str, Any], problems: list[str]) -> Definition:
    """Return the definition in parsed TOML. Add a line to `problems` for everything that is wrong."""
    definition = ROOT.read("", values, Reading(DEFINITION, problems))
    problems += _conflicts(definition.issuers, definition.groups)
    problems += _ambiguous(definition.groups)
    problems += naming.problems(definition.groups)
    problems += ways.problems(DEFINITION, definition.groups)
    problems += _without_nonce(definition.groups)
    return definition


def write(definition: Definition | Fleet) -> dict[str, Any]:
    """Return the parsed TOML from which `read` makes this definition."""
    if isinstance(definition, Fleet):
        # A fleet's `grants` are the policy templates, which are in files of their own.
        fleet = definition
        members = (fleet.groups, fleet.role_aliases, fleet.issuers, fleet.services, fleet.reserved)
        definition = Definition(*members, fleet.terms, fleet.colon_ids)
    return ROOT.write(definition)


def _conflicts(issuers: dict[str, TokenIssuer], groups: dict[str, Group]) -> list[str]:
    """Return the problems between issuers, and between issuers and the groups of their devices."""
    problems = [
        f"{DEFINITION}: issuers.{issuer.name}.groups names {group!r}{reason}"
        for issuer in issuers.values()
        for group in issuer.groups
        if (reason := _unfit(groups.get(group)))
    ]
    # The `iss` claim of a token must lead to one issuer, and so to one set of keys and groups.
    return problems + [
        f"{DEFINITION}: issuers.{one.name} and issuers.{other.name} have the same value of issuer"
        for one, other in combinations(issuers.values(), 2)
        if one.issuer and one.issuer == other.issuer
    ]


def _without_nonce(groups: dict[str, Group]) -> list[str]:
    """Return the problems of groups that demand a nonce of clients which can't show one."""
    return [
        f'{DEFINITION}: groups.{group.name} has proof = "nonce" and the way "roles-anywhere", whose requests'
        " have a time and no nonce"
        for group in groups.values()
        if group.proof == "nonce" and "roles-anywhere" in group.ways
    ]


def _ambiguous(groups: dict[str, Group]) -> list[str]:
    """Return the problems of former names of groups: the group of a recorded name must be certain."""
    problems = [
        f"{DEFINITION}: groups.{group.name}.formerly names {name!r}, which is a group's name now"
        for group in groups.values()
        for name in group.formerly
        if name in groups
    ]
    return problems + [
        f"{DEFINITION}: groups.{one.name} and groups.{other.name} were both called {name!r}"
        for one, other in combinations(groups.values(), 2)
        for name in one.formerly
        if name in other.formerly
    ]


def _unfit(group: Group | None) -> str | None:
    if group is None:
        return ": there is no such group"
    if group.mqtt != "token":
        return ', whose devices connect with certificates; set its mqtt = "token" first'
    return None
