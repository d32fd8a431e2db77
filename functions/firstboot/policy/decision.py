"""Decide about every grant for one device, with one request to Cedar.

Cedar evaluates all of its rules for each grant that it is asked about, and one device is asked about every
grant. Grants have no attributes, so a rule tells them apart only by their names: in its scope, or in a
condition that reads `resource`. So Cedar is asked which rules apply, once, and this module decides each grant
from them:

1. Cedar gets the rules without `resource` in their scope and all with the effect `permit`. Then the reasons
   of its answer are all rules that apply.
2. A rule whose conditions read `resource` becomes a rule for each grant that it names, and one for all others
   together, with the grant in the place of `resource`. It can't tell the others apart.
3. A rule counts for the grants that it is about. A grant is allowed if a rule permits it and no rule forbids
   it (https://docs.cedarpolicy.com, "How Cedar authorization works"). The errors of rules that count for the
   grant come with the decision.

tests/unit/test_policy_decision.py compares the decisions with those of Cedar's own algorithm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cedarpy import Entities, PolicySet, Schema, is_authorized_batch

from firstboot.policy import vocabulary

_ERROR = re.compile("error while evaluating policy `([^`]+)`")
_RESOURCE = {"Var": "resource"}


@dataclass
class Decided:
    """The rules that apply to a grant, by their ids, and the texts of those whose evaluation failed."""

    permits: list[str] = field(default_factory=list)
    forbids: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def is_allowed(self) -> bool:
        """Return whether the grant is permitted and not forbidden. It may still have errors."""
        return bool(self.permits) and not self.forbids

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return the ids of the rules that decided, in order: the forbids, or without one the permits."""
        return tuple(sorted(self.forbids or self.permits))

    def __add__(self, other: Decided) -> Decided:
        return Decided(self.permits + other.permits, self.forbids + other.forbids, self.errors + other.errors)


@dataclass(frozen=True)
class _About:
    """Grants that a rule can't tell apart. `grants` is None for every grant of the fleet.

    `instead` is the grant that takes the place of `resource` in the conditions, None if they do not read it.
    """

    grants: tuple[str, ...] | None
    instead: str | None = None


@dataclass(frozen=True)
class _Rule:
    """A rule that Cedar evaluates: the key and the @id of the fleet's rule, and what it is about."""

    key: str
    name: str
    permits: bool
    about: _About


class Decisions:
    """The rules of a fleet, parsed once.

    `policies` are the rules as Cedar's JSON, by Cedar's own names. `grants` are the names of the grants.
    """

    def __init__(
        self, policies: Mapping[str, vocabulary.Json], grants: Sequence[str], schema: Schema
    ) -> None:
        self._grants, self._schema = grants, schema
        self._rules: dict[str, _Rule] = {}
        documents: dict[str, vocabulary.Json] = {}
        for key, policy in policies.items():
            name = policy.get("annotations", {}).get("id") or ""
            for number, about in enumerate(_abouts(policy, grants)):
                own = f"{key}/{number}"
                self._rules[own] = _Rule(key, name, policy["effect"] == "permit", about)
                documents[own] = _evaluated(policy, about.instead)
        document = {"staticPolicies": documents, "templates": {}, "templateLinks": []}
        self._policies = PolicySet.from_json_str(json.dumps(document))

    def decide(self, device_id: str, context: vocabulary.Json, entities: Entities) -> dict[str, Decided]:
        """Return the decision about each grant, by the grant's name."""
        if not self._grants:
            return {}
        every, own = Decided(), {name: Decided() for name in self._grants}
        # No rule reads which grant it is. It is one of the fleet's, because the schema may list the grants.
        request = vocabulary.request(device_id, self._grants[0], context)
        (result,) = is_authorized_batch([request], self._policies, entities, self._schema)
        for rule in map(self._rules.__getitem__, result.diagnostics.reasons):
            for _, found in _of(rule.about, every, own):
                (found.permits if rule.permits else found.forbids).append(rule.name)
        for text in sorted(result.diagnostics.errors):
            self._add_error(text, every, own)
        # Adding nothing to each of many grants would take as long as Cedar does.
        return own if every == Decided() else {name: every + found for name, found in own.items()}

    def _add_error(self, text: str, every: Decided, own: dict[str, Decided]) -> None:
        """Add an error of Cedar, in the words in which it is about the fleet's rule and the grant."""
        failed = _ERROR.match(text)
        if failed is None:  # Cedar could not read the request, and evaluated no rule.
            every.errors.append(text)
            return
        rule = self._rules[failed[1]]
        said, instead = text.replace(failed[1], rule.key, 1), rule.about.instead
        for name, found in _of(rule.about, every, own):
            found.errors.append(said.replace(_literal(instead), _literal(name)) if instead else said)


def _of(about: _About, every: Decided, own: dict[str, Decided]) -> Iterable[tuple[str, Decided]]:
    """Return the decisions that a rule counts for, each with the name of its grant if it is about one."""
    return (("", every),) if about.grants is None else [(name, own[name]) for name in about.grants]


def evaluations(policy: vocabulary.Json, grants: Sequence[str]) -> int:
    """Return how many rules Cedar evaluates at each decision for this rule of a fleet (Cedar JSON)."""
    return len(_abouts(policy, grants))


def _abouts(policy: vocabulary.Json, grants: Sequence[str]) -> list[_About]:
    """Return what a rule is about: every grant or some that it can't tell apart, one for each evaluation."""
    scope = _scope(policy["resource"], grants)
    conditions = list(vocabulary.nodes(policy["conditions"]))
    if _RESOURCE not in conditions:
        return [_About(scope)] if scope is None or scope else []
    named = {node["id"] for node in conditions if node.keys() == {"type", "id"} and node["type"] == "Grant"}
    within = grants if scope is None else scope
    others = tuple(name for name in within if name not in named)
    abouts = [_About((name,), name) for name in within if name in named]
    return abouts + ([_About(others, others[0])] if others else [])


def _scope(resource: vocabulary.Json, grants: Sequence[str]) -> tuple[str, ...] | None:
    """Return the grants that a rule's scope fits; None if it fits each of them."""
    # `in` is equality here, because no grant is in another entity.
    entity = resource.get("entity") or resource.get("in", {}).get("entity")
    kind = resource.get("entity_type") or (entity or {}).get("type") or "Grant"
    if kind != "Grant" or (entity and entity["type"] != "Grant"):
        return ()
    return tuple({entity["id"]} & set(grants)) if entity else None


def _evaluated(policy: vocabulary.Json, instead: str | None) -> vocabulary.Json:
    """Return a rule in the form in which Cedar's answer names it if it applies."""
    conditions = policy["conditions"]
    if instead is not None:
        literal = {"Value": {"__entity": {"type": "Grant", "id": instead}}}
        conditions = _replaced(conditions, literal)
    return policy | {"effect": "permit", "resource": {"op": "All"}, "conditions": conditions}


def _replaced(value: Any, literal: vocabulary.Json) -> Any:  # noqa: ANN401 - any JSON value
    """Return Cedar's JSON with a literal in the place of each `resource`."""
    if value == _RESOURCE:
        return literal
    if isinstance(value, dict):
        return {key: _replaced(member, literal) for key, member in value.items()}
    return [_replaced(item, literal) for item in value] if isinstance(value, list) else value


def _literal(grant: str) -> str:
    return f'Grant::"{grant}"'
