"""`console fleet diff` finds what differs between two fleet definitions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from console import changes
from firstboot.domain.clock import from_epoch
from firstboot.domain.fleet import Fleet, Group, RoleAlias
from firstboot.domain.plans import Budget, CertificatePlan
from firstboot.domain.token_issuer import TokenIssuer
from tests import factories

GROUP = Group(
    name="gateways",
    trust=(factories.pem(factories.authority("Acme factory").certificate),),
    device_id="subject.CN",
    reenroll="replace",
    reenroll_per_day=10,
    certificate=CertificatePlan(days=365, renew_at=0.66, grace_days=90),
    mqtt="registry",
    budget=Budget(total=1, per_minute=1, until=from_epoch(1)),
)
ACME = TokenIssuer("acme", "https://id.example", "https://id.example/jwks", ("ES256",), ("gateways",))
FLEET = Fleet(
    groups={"gateways": GROUP},
    role_aliases={"telemetry": RoleAlias("telemetry", 3600)},
    grants={"telemetry": {"Statement": []}},
    rules="permit (principal, action, resource);\n",
    schema="entity Group;\n",
    issuers={"acme": ACME},
)


def test_the_same_fleet_has_no_changes() -> None:
    """Fleets that differ in `base` only have no changes."""
    assert changes.between(replace(FLEET, base="0" * 64), FLEET) == []


@pytest.mark.parametrize(
    ("values", "part", "line"),
    [
        (
            {"groups": {"gateways": replace(GROUP, reenroll="refuse")}},
            "group gateways",
            '+  "reenroll": "refuse",',
        ),
        (
            {"role_aliases": {"telemetry": RoleAlias("telemetry", 900)}},
            "role alias telemetry",
            '+  "seconds": 900',
        ),
        (
            {"issuers": {"acme": replace(ACME, algorithms=("RS256",))}},
            "issuer acme",
            '+    "RS256"',
        ),
        ({"grants": {"telemetry": {"Statement": [1]}}}, "grant telemetry", "+    1"),
        (
            {"rules": "forbid (principal, action, resource);\n"},
            "rules",
            "+forbid (principal, action, resource);",
        ),
        ({"schema": "entity Grant;\n"}, "schema", "+entity Grant;"),
    ],
)
def test_every_part_is_compared(values: dict[str, Any], part: str, line: str) -> None:
    """A difference in any part is one change, and its diff has the new line."""
    (change,) = changes.between(FLEET, replace(FLEET, **values))
    assert (change.part, change.kind) == (part, "changed")
    assert line in change.diff


def test_parts_come_and_go() -> None:
    """A grant that is on one side only was added or removed."""
    more = replace(FLEET, grants={**FLEET.grants, "firmware": {"Statement": []}})
    (added,) = changes.between(FLEET, more)
    (removed,) = changes.between(more, FLEET)
    assert (added.part, added.kind) == ("grant firmware", "added")
    assert (removed.part, removed.kind) == ("grant firmware", "removed")


def test_an_anchor_is_shown_by_its_name() -> None:
    """A changed trust anchor is shown as its subject and fingerprint, not as PEM."""
    other = replace(GROUP, trust=(factories.pem(factories.authority("Other factory").certificate),))
    (change,) = changes.between(FLEET, replace(FLEET, groups={"gateways": other}))
    text = "\n".join(change.diff)
    assert "CN=Acme factory sha256:" in text
    assert "CN=Other factory sha256:" in text
    assert "BEGIN" not in text
