"""fleet.toml to groups, role aliases and token issuers.

[groups.NAME]           trust = ["trust/FILE.pem", …]          required
                        device_id = "subject.CN"               or "request.deviceId": shared by many
                        reenroll = "replace"                   or "refuse" (default if shared)
                        reenroll_per_day = 10                  enrollments of one device, if "replace"
                        mqtt = "registry"                      or "token"
                        certificate = { days = 365, renew_at = 0.66, grace_days = 90 }
                        budget = { total, per_minute, until }  none: no limit; given: all three.
                                   freeze_per_hour             more in an hour freezes the group;
                                                               a shared group must have it
[groups.NAME.configuration]                                    what a new device starts with: JSON values,
                                                               5 levels, 1,024 bytes of JSON at most
[role_aliases.NAME]     seconds = 3600                         of a session, 900 to 3600
[issuers.NAME]          who makes tokens: see issuers.py
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from firstboot.compiler import issuers
from firstboot.compiler.source import DEFINITION
from firstboot.compiler.table import Table
from firstboot.domain import names
from firstboot.domain.fleet import Budget, CertificatePlan, Group, Naming, RoleAlias, TokenIssuer, end_of_day
from firstboot.policy import limits

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
"""Names of groups, grants and issuers: they go into Cedar, session tags, policy names and table keys."""

_MANY = 1_000_000_000

_LEVELS = 5
"""Of names below `desired`. AWS IoT takes six of nesting in a shadow update (developer guide, "Device
Shadow error messages"); `state` may count as one."""

_CONFIGURATION = 1_024
"""Bytes: beside the longest certificate it must fit an answer of 4,096. A shadow holds 8,192 (same
guide, "Diagnosing problems with shadows")."""


@dataclass(frozen=True)
class Definition:
    """What fleet.toml says. A group's `trust` still holds the names of files."""

    groups: dict[str, Group]
    role_aliases: dict[str, RoleAlias]
    issuers: dict[str, TokenIssuer]


def read(values: dict[str, Any], problems: list[str]) -> Definition:
    """What `values` (parsed TOML) define. Adds what is wrong to `problems`."""
    root = Table(f"{DEFINITION}: ", values, problems)
    groups = {name: _group(name, table) for name, table in root.table("groups").tables()}
    aliases = {name: _role_alias(name, table) for name, table in root.table("role_aliases").tables()}
    token_issuers = {name: issuers.read(name, table) for name, table in root.table("issuers").tables()}
    root.close()
    problems += _bad_names(groups, aliases)
    problems += [
        f"{DEFINITION}: issuers.{name} is no name: {NAME.pattern}"
        for name in token_issuers
        if not NAME.fullmatch(name)
    ]
    problems += issuers.conflicts(token_issuers, groups)
    return Definition(groups, aliases, token_issuers)


def _bad_names(groups: dict[str, Group], aliases: dict[str, RoleAlias]) -> list[str]:
    found = [f"{DEFINITION}: groups.{n} is no name: {NAME.pattern}" for n in groups if not NAME.fullmatch(n)]
    found += [
        f"{DEFINITION}: role_aliases.{name} is no name AWS IoT takes: {names.ROLE_ALIAS.pattern}"
        for name in aliases
        if not names.ROLE_ALIAS.fullmatch(name)
    ]
    return found if groups else [*found, f"{DEFINITION}: groups is missing: no device could enroll"]


def _group(name: str, table: Table) -> Group:
    device_id: Naming = table.choice("device_id", ("subject.CN", "request.deviceId"), "subject.CN")
    shared = device_id == "request.deviceId"
    group = Group(
        name=name,
        trust=table.strings("trust"),
        device_id=device_id,
        reenroll=table.choice("reenroll", ("refuse", "replace"), "refuse" if shared else "replace"),
        reenroll_per_day=table.integer("reenroll_per_day", 1, _MANY, 10),
        certificate=_certificate(table.table("certificate")),
        mqtt=table.choice("mqtt", ("registry", "token"), "registry"),
        budget=_budget(table.table("budget"), shared=shared) if shared or "budget" in table else None,
        configuration=table.document("configuration", _LEVELS, _CONFIGURATION),
    )
    table.close()
    return group


def _certificate(table: Table) -> CertificatePlan:
    plan = CertificatePlan(
        days=table.integer("days", 1, 3_650, 365),
        renew_at=table.fraction("renew_at", 0.66),
        grace_days=table.integer("grace_days", 0, 3_650, 90),
    )
    table.close()
    return plan


def _budget(table: Table, *, shared: bool) -> Budget:
    budget = Budget(
        total=table.integer("total", 1, _MANY),
        per_minute=table.integer("per_minute", 1, _MANY),
        # A budget "until 2028-01-01" still holds on that day.
        until=end_of_day(table.day("until")),
        # Who holds a shared certificate can try any name: someone must be woken.
        freeze_per_hour=(
            table.integer("freeze_per_hour", 1, _MANY) if shared or "freeze_per_hour" in table else None
        ),
    )
    table.close()
    return budget


def _role_alias(name: str, table: Table) -> RoleAlias:
    seconds = table.integer(
        "seconds",
        limits.SECONDS.start,
        limits.SECONDS.stop - 1,
        3_600,
        why=" (a role assumed from a role, as vend does, lasts one hour at most)",
    )
    table.close()
    return RoleAlias(name, seconds)
