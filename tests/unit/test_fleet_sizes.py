"""A fleet has at most as many rules and grants as can be decided in time, and works at these limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cedarpy import is_authorized_batch

from firstboot.compiler import fleet as compiler
from firstboot.compiler import sizes
from firstboot.compiler.errors import FleetInvalid
from firstboot.domain.clock import EPOCH
from firstboot.domain.fleet import Fleet
from firstboot.policy import decision
from firstboot.policy.attachment import needs_reconciling
from firstboot.policy.rules import RequestContext, Rules
from tests.unit.fleet_folders import RULES, SCHEMA, device, fleet, grant, problems, statement

READING = '@id("{}") permit (principal, action, resource) when {{ [{}].contains(resource) }};\n'


def grants(count: int) -> dict[str, Any]:
    """Return this number of grants. Some are equal, as a role's policies limit all of them together."""
    made = (
        grant(statement(Resource=f"arn:{{partition}}:s3:::b{n % 50}/{{deviceId}}/*")) for n in range(count)
    )
    return {f"g{number}": each for number, each in enumerate(made)}


def rules(count: int, of: int) -> str:
    """Return this number of rules about `of` grants."""
    return "".join(
        f'@id("r{n}") permit (principal, action, resource == Grant::"g{n % of}") '
        f"when {{ principal has floor && principal.floor == {n % 7} }};\n"
        for n in range(count)
    )


def at_the_limit() -> Fleet:
    """Return a fleet that has as many rules and grants as a fleet may have."""
    return fleet(rules=rules(sizes.RULES, sizes.GRANTS), grants=grants(sizes.GRANTS))


def test_a_fleet_at_the_limit_compiles_and_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit `operate` takes a fleet, and a decision or a device of a sweep is one request to Cedar."""
    made = at_the_limit()
    compiler.check(made)
    asked: list[int] = []

    def batch(requests: list[Any], *given: Any) -> Any:
        asked.append(len(requests))
        return is_authorized_batch(requests, *given)

    monkeypatch.setattr(decision, "is_authorized_batch", batch)
    decided = Rules(made)
    held = decided.decide(device(attributes={"floor": 3}), RequestContext())
    due = {f"g{n % sizes.GRANTS}" for n in range(sizes.RULES) if n % 7 == 3}
    assert set(held.grants) == due
    assert asked == [1]
    needs_reconciling(decided, replace(device(), registered=frozenset({"a"})), EPOCH)
    assert asked == [1, 1]


def test_one_more_rule_or_grant_is_refused() -> None:
    """A fleet with one rule or one grant more than the limit is refused, with the number and the limit."""
    (found,) = problems(rules=rules(sizes.RULES + 1, 1), grants=grants(1))
    assert found.startswith("rules.cedar: has 501 rules; a fleet may have 500 (a rule with `resource`")
    assert problems(grants=grants(sizes.GRANTS + 1), rules="") == [
        "grants/: has 251 grants; a fleet may have 250"
    ]
    with pytest.raises(FleetInvalid, match="has 251 grants"):
        compiler.check(replace(at_the_limit(), grants=grants(sizes.GRANTS + 1)))


def test_a_rule_that_reads_the_grant_counts_for_each_that_it_names() -> None:
    """A rule with `resource` in a condition counts as often as Cedar evaluates it."""
    names = [f'Grant::"g{number}"' for number in range(99)]
    five = "".join(READING.format(number, ", ".join(names)) for number in range(5))
    assert fleet(rules=five, grants=grants(100))
    (found,) = problems(rules=five + RULES.replace('"telemetry"', '"g0"'), grants=grants(100))
    assert found.startswith("rules.cedar: has 501 rules; a fleet may have 500 (")
    nothing = "".join(f'@id("{n}") permit (principal, action, resource is Group);' for n in range(501))
    (found,) = problems(rules=nothing, grants=grants(1), schema=SCHEMA)
    assert found.startswith("rules.cedar: has 501 rules")


@pytest.mark.parametrize(("member", "file"), [("rules", "rules.cedar"), ("schema", "schema.cedarschema")])
def test_long_texts_are_refused(member: str, file: str) -> None:
    """Rules or a schema of more characters than the limit are refused before Cedar reads them."""
    text = {"rules": RULES, "schema": SCHEMA}[member]
    line = "// a comment;\n"
    padded = text + line * ((sizes.CHARACTERS - len(text)) // len(line))
    padded += "/" * (sizes.CHARACTERS - len(padded) - 1) + "\n"
    padded = padded if padded.endswith("//\n") else padded.replace("/\n", "\n")
    padded += " " * (sizes.CHARACTERS - len(padded))
    assert len(padded) == sizes.CHARACTERS
    changed: dict[str, Any] = {member: padded}
    assert fleet(**changed)
    changed = {member: padded + " "}
    assert problems(**changed) == [f"{file}: has 250,001 characters; it may have 250,000"]


def test_a_compiled_fleet_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled fleet with more bytes than the limit is refused, and one with as many bytes is not."""
    size = len(fleet().to_json())
    monkeypatch.setattr(sizes, "COMPILED", size)
    assert fleet()
    monkeypatch.setattr(sizes, "COMPILED", size - 1)
    assert problems() == [f"fleet.toml: the compiled fleet has {size:,} bytes; it may have {size - 1:,}"]


def test_two_fleets_fit_an_answer() -> None:
    """A third of Lambda's answer of 6 MB stays free beside two compiled fleets of the largest size."""
    assert 3 * sizes.COMPILED <= 6_000_000
