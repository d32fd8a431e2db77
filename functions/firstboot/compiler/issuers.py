"""Token issuers: tables of fleet.toml, and what must hold between them and the groups.

[issuers.NAME]          issuer = "https://id.example.com"      exactly what tokens have as `iss`
                        jwks = "https://id.example.com/jwks"   where its keys are
                        algorithms = ["ES256"]                 and RS256, PS256: no others are taken
                        groups = ["gateways"]                  whose devices it speaks for
"""

from __future__ import annotations

from itertools import combinations
from typing import get_args

from firstboot.compiler.source import DEFINITION
from firstboot.compiler.table import Table
from firstboot.domain.fleet import Algorithm, Group, TokenIssuer

_ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)


def read(name: str, table: Table) -> TokenIssuer:
    """The issuer in a table."""
    issuer = TokenIssuer(
        name=name,
        issuer=table.url("issuer"),
        jwks=table.url("jwks"),
        algorithms=table.choices("algorithms", _ALGORITHMS),
        groups=table.strings("groups"),
    )
    table.close()
    return issuer


def conflicts(issuers: dict[str, TokenIssuer], groups: dict[str, Group]) -> list[str]:
    """What is wrong between issuers, and between them and the groups they speak for."""
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
