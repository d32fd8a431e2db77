"""Tests of a fleet's rules: which grants a device must hold and which not, and by which rules.

They are in `tests.toml` of the fleet folder, which the compiler does not read. No input or output.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import msgspec

from console import supposed
from firstboot.compiler.templates import WIDEST
from firstboot.domain import names
from firstboot.domain.device import Attribute, Device
from firstboot.domain.errors import DeviceIdInvalid, SessionPolicyTooLarge
from firstboot.domain.fleet import Fleet
from firstboot.operate.explain import explain
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.rules import Holdings, RequestContext, Rules

FILE = "tests.toml"

Expected = list[str] | dict[str, str | list[str]]
"""Grants: a list, or a table in which each grant has the rule or the rules that decide it."""


class RuleTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device in a request context, and the grants that it must hold there.

    `holds` has exactly the grants that the device holds. `withheld` has some that it does not hold; those of
    a table must be withheld by a `forbid` rule. Without a role alias, the device connects over MQTT.
    """

    name: str
    group: str
    device_id: str = supposed.NAME
    attributes: dict[str, Attribute] = {}
    claims: dict[str, Attribute] = {}
    role_alias: str | None = None
    source_ip: str | None = None
    holds: Expected | None = None
    withheld: Expected | None = None

    @property
    def device(self) -> Device:
        """Return the device."""
        return supposed.device(self.group, self.attributes, self.claims, names.DeviceId(self.device_id))


@dataclass(frozen=True)
class Failure:
    """A failed expectation about a grant. `text` says what was expected, what came, and by which rules."""

    test: str
    grant: str | None
    text: str


class Invalid(Exception):
    """The file of tests has problems, each a line of text."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read(text: str, fleet: Fleet, rule_ids: set[str]) -> list[RuleTest]:
    """Return the tests in the text of `tests.toml`, with names that exist in `fleet`.

    Raises Invalid with every problem found.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid([f"{FILE}: {error}"]) from error
    problems = [f"{FILE}: {key} is not a key; a test is a table [[test]]" for key in values.keys() - {"test"}]
    listed = values.get("test", [])
    if not isinstance(listed, list) or not listed:
        raise Invalid([*problems, f"{FILE}: has no test; a test is a table [[test]]"])
    tests = [_test(number, value, problems) for number, value in enumerate(listed, 1)]
    rules, seen = Rules(fleet), set[str]()
    for test in filter(None, tests):
        problems += [f'{FILE}: test "{test.name}": {problem}' for problem in _problems(test, rules, rule_ids)]
        if test.name in seen:
            problems.append(f'{FILE}: more than one test has the name "{test.name}"')
        seen.add(test.name)
    if problems:
        raise Invalid(problems)
    return [test for test in tests if test]


def _test(number: int, value: object, problems: list[str]) -> RuleTest | None:
    try:
        return msgspec.convert(value, RuleTest)
    except msgspec.ValidationError as error:
        name = value.get("name") if isinstance(value, dict) else None
        which = f'test "{name}"' if isinstance(name, str) else f"test number {number}"
        problems.append(f"{FILE}: {which}: {error}")
        return None


def _problems(test: RuleTest, rules: Rules, rule_ids: set[str]) -> Iterator[str]:
    """Yield what makes a test meaningless: a name that does not exist would never be granted, for example."""
    fleet = rules.fleet
    if test.holds is None and not test.withheld:
        yield "expects nothing: it needs `holds` or `withheld`"
    if test.group not in fleet.groups:
        yield f"there is no group {test.group}; the groups are {', '.join(fleet.groups)}"
    if test.role_alias is not None and test.role_alias not in fleet.role_aliases:
        yield f"there is no role alias {test.role_alias}; there are {', '.join(fleet.role_aliases)}"
    for grant, ids in (_ids(test.holds) | _ids(test.withheld)).items():
        if grant not in fleet.grants:
            yield f"there is no grant {grant}; the grants are {', '.join(fleet.grants)}"
        yield from (f'no rule has @id("{each}")' for each in ids if each not in rule_ids)
    try:
        names.device_id(test.device_id, fleet.ids)
        ip_address(test.source_ip or "::")
        rules.check_attributes(test.device)
    except (DeviceIdInvalid, AttributesInvalid) as error:
        yield error.detail
    except ValueError:
        yield f"source_ip {test.source_ip!r} is not an IP address"
    for claim in test.claims.keys() - rules.fitting_claims(test.device).keys():
        yield f"the claim {claim} is not in the schema, or has another type there"


def failures(test: RuleTest, rules: Rules) -> list[Failure]:
    """Return the expectations of a test that the rules do not meet."""
    context = RequestContext(test.role_alias, test.source_ip)
    (found,) = explain(test.device, [context], rules, WIDEST)
    held, holds, withheld = found.holdings, _ids(test.holds), _ids(test.withheld)
    failed = [(grant, _not_as_held(held, grant, ids)) for grant, ids in holds.items()]
    failed += [(grant, _not_as_withheld(held, grant, ids)) for grant, ids in withheld.items()]
    if test.holds is not None:
        surplus = [grant for grant in held.grants if grant not in holds and grant not in withheld]
        failed += [(grant, _not_as_withheld(held, grant, ())) for grant in surplus]
    made = [Failure(test.name, grant, f"{grant}: {text}") for grant, text in failed if text]
    if isinstance(found.refusal, SessionPolicyTooLarge):
        made.append(Failure(test.name, None, f"{found.refusal.title}: {found.refusal.log}"))
    return made


def _not_as_held(held: Holdings, grant: str, ids: tuple[str, ...]) -> str | None:
    if set(ids) <= set(held.rules.get(grant, ())) and grant in held.grants:
        return None
    return f"expected to be held{_by(ids)}, and it is {_state(held, grant)}"


def _not_as_withheld(held: Holdings, grant: str, ids: tuple[str, ...]) -> str | None:
    if grant not in held.grants and set(ids) <= set(held.withheld.get(grant, ())):
        return None
    expected = f"expected to be withheld{_by(ids)}" if ids else "expected not to be held"
    return f"{expected}, and it is {_state(held, grant)}"


def _state(held: Holdings, grant: str) -> str:
    if grant in held.grants:
        return f"held{_by(held.rules[grant])}"
    errors = [error for error in held.errors if error.startswith(f"{grant}: ")]
    reason = f"withheld{_by(held.withheld[grant])}" if grant in held.withheld else "given by no rule"
    return "; ".join([reason, *errors])


def _by(ids: tuple[str, ...]) -> str:
    if not ids:
        return ""
    return f" by {'rule' if len(ids) == 1 else 'rules'} {', '.join(ids)}"


def _ids(expected: Expected | None) -> dict[str, tuple[str, ...]]:
    """Return the expected grants, each with the ids of the rules that must decide it."""
    items: Mapping[str, Any] = (
        dict.fromkeys(expected or (), ()) if isinstance(expected, list) else expected or {}
    )
    return {grant: (ids,) if isinstance(ids, str) else tuple(ids) for grant, ids in items.items()}
