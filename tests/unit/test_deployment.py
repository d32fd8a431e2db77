"""Test which differences between fleets need a deployment, and which devices a fleet leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firstboot.compiler.deployment import needs_deployment, orphaned
from firstboot.domain.clock import from_epoch
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.plans import Budget
from firstboot.domain.token_issuer import TokenIssuer
from tests import factories
from tests.unit.fleet_folders import fleet

ONE, OTHER, THIRD = (factories.pem(factories.authority(name).certificate) for name in ("1", "2", "3"))
BUDGET = Budget(total=10, per_minute=1, until=from_epoch(86_400))
LOST, MOVED = "the group {} loses its budget", "a trust anchor of the deployed group {} is moved or dropped"
NEW = "trust anchors differ from the deployed ones"


def group(name: str, *trust: str, **changes: Any) -> Group:
    """Return a group with these trust anchors."""
    base = fleet().groups["gateways"]
    values: dict[str, Any] = {"name": name, "trust": trust, "budget": BUDGET}
    return replace(base, **values | changes)


def of(*groups: Group) -> Fleet:
    """Return a fleet with these groups."""
    return replace(fleet(), groups={each.name: each for each in groups})


A, B = group("a", ONE), group("b", OTHER)
DEPLOYED = of(A, B)


@pytest.mark.parametrize(
    ("changed", "reasons"),
    [
        (DEPLOYED, []),
        (of(group("a", ONE, formerly=("c",)), B), ["the enrollments of the group a would be counted from"]),
        (of(group("c", ONE, formerly=("a",)), B), []),
        (of(replace(A, budget=replace(BUDGET, total=99)), B), []),
        (of(replace(A, budget=None), B), [LOST.format("a")]),
        (of(group("c", ONE, formerly=("a",), budget=None), B), [LOST.format("c")]),
        (of(group("a", ONE, THIRD), B), [NEW]),
        (of(group("a", THIRD), B), [NEW, MOVED.format("a")]),
        (of(group("a", OTHER), group("b", ONE)), [MOVED.format("a"), MOVED.format("b")]),
        (of(A), []),
        (of(group("a", ONE, OTHER)), [MOVED.format("b")]),
        (of(group("c", ONE), B), []),
        (of(group("a", ONE, OTHER, formerly=("b",))), ["the enrollments of the group a would be counted"]),
    ],
)
def test_moving_an_anchor_and_losing_a_budget_need_a_deployment(changed: Fleet, reasons: list[str]) -> None:
    """Anchors and budgets are compared per group, where a renamed group is compared with its former self."""
    found = needs_deployment(DEPLOYED, changed)
    assert [each[: len(reason)] for each, reason in zip(found, reasons, strict=True)] == reasons


def test_a_longest_answer_needs_no_deployment() -> None:
    """A role alias with another `max_answer` keeps its role; one with other seconds needs another."""
    alias = DEPLOYED.role_aliases["telemetry"]
    bounded = replace(alias, max_answer=2_048)
    for other, reasons in (
        (bounded, []),
        (replace(bounded, seconds=900), ["role aliases differ from the deployed ones"]),
    ):
        changed = replace(DEPLOYED, role_aliases={"telemetry": other})
        assert needs_deployment(DEPLOYED, changed) == reasons
        assert needs_deployment(changed, DEPLOYED) == reasons


def test_a_renamed_group_keeps_its_token_issuer() -> None:
    """A token issuer with the new name of a group is the deployed one; one with another group is not."""
    issuer = TokenIssuer("acme", "https://id.example", "https://id.example/jwks", ("ES256",), ("a",))
    before = replace(DEPLOYED, issuers={"acme": issuer})
    after = of(group("c", ONE, formerly=("a",)), B)
    for name, reasons in (("c", []), ("b", ["token issuers differ from the deployed ones"])):
        issuers = {"acme": replace(issuer, groups=(name,))}
        assert needs_deployment(before, replace(after, issuers=issuers)) == reasons


def test_jitr_that_was_off_for_an_anchor_needs_a_deployment() -> None:
    """JITR needs a deployment for an anchor whose deployed group has it off, also in a renamed group."""
    off = of(replace(A, jitr="off"), B)
    assert needs_deployment(off, of(group("c", ONE, formerly=("a",)), B)) == [
        "JITR is off in the deployed groups a"
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"device_id": "subject.serialNumber"},
        {"strip_prefix": "sn"},
        {"strip_suffix": "sn"},
        {"pattern": "sn(.+)"},
    ],
)
@pytest.mark.parametrize("name", ["a", "c"])
def test_other_ids_need_a_deployment(changes: dict[str, Any], name: str) -> None:
    """A group that reads other ids from certificates needs a deployment, and so does a renamed one."""
    formerly = () if name == "a" else ("a",)
    after = of(group(name, ONE, formerly=formerly, **changes), B)
    assert needs_deployment(DEPLOYED, after) == [f"the devices of the group {name} would get other ids"]
    # `ids` gives no device another id.
    assert needs_deployment(DEPLOYED, of(replace(A, ids="gw-*", shares_ids_with=("b",)), B)) == []


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        (DEPLOYED, DEPLOYED, []),
        (DEPLOYED, of(A), ["b"]),
        (DEPLOYED, of(group("c", ONE), B), ["a"]),
        (DEPLOYED, of(group("c", ONE, formerly=("a",)), B), []),
        (DEPLOYED, of(group("a", ONE, OTHER, formerly=("b",))), []),
        (of(group("c", ONE, formerly=("a",))), of(group("c", ONE)), ["a"]),
        (of(group("c", ONE, formerly=("a",))), of(A), ["c"]),
        (
            of(group("c", ONE, formerly=("a",)), B),
            of(group("c", ONE), group("b", OTHER, formerly=("a",))),
            ["a"],
        ),
    ],
)
def test_devices_without_their_group(before: Fleet, after: Fleet, names: list[str]) -> None:
    """Devices lose their group if its name in their record leads to none, or to another one."""
    assert orphaned(before, after) == names
