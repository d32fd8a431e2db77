"""Decide about every grant for one device, with each rule evaluated once.

Cedar evaluates all of its rules for each grant that it is asked about, and one device is asked about every
grant. Grants have no attributes, so a rule tells them apart by its scope alone, unless its conditions read
`resource`. So Cedar is asked which rules apply, once, and this module decides each grant from them:

1. Cedar gets the rules without `resource` in their scope and all with the effect `permit`. Then the reasons
   of its answer are all rules that apply. It gets the rules that read `resource` once for each grant.
2. A rule counts for the grants of its own scope.
3. A grant is allowed if a rule permits it and no rule forbids it (https://docs.cedarpolicy.com, "How Cedar
   authorization works"). The errors of rules that count for the grant come with the decision.

tests/unit/test_policy_decision.py compares the decisions with those of Cedar's own algorithm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cedarpy import (
    Entities,
    PolicySet,
    Schema,
    is_authorized_batch,
    policies_to_json_str,
)

from firstboot.policy import vocabulary

_NO_GRANT = ""
"""The resource of a request that is about no grant. No grant has an empty name."""

_ERROR = re.compile("error while evaluating policy `([^`]+)`")


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
class _Rule:
    """A rule without its conditions: its @id, whether it permits, and the grant of its scope (see _scope)."""

    name: str
    permits: bool
    grant: str | None


class Decisions:
    """The rules of a fleet, parsed once. `grants` are the names of its grants."""

    def __init__(self, rules: str, grants: Sequence[str], schema: Schema) -> None:
        policies: dict[str, vocabulary.Json] = json.loads(policies_to_json_str(rules))["staticPolicies"]
        self._grants, self._schema = grants, schema
        self._rules = {key: _rule(policy) for key, policy in policies.items()}
        readers = {key: policy for key, policy in policies.items() if _reads_resource(policy)}
        others = {key: policy for key, policy in policies.items() if key not in readers}
        self._once, self._each = _Evaluated(others), _Evaluated(readers) if readers else None

    def decide(self, device_id: str, context: vocabulary.Json, entities: Entities) -> dict[str, Decided]:
        """Return the decision about each grant, by the grant's name."""
        own = {name: Decided() for name in self._grants}
        every = Decided()
        requests = [vocabulary.request(device_id, _NO_GRANT, context)]
        (once,) = self._once(requests, entities, self._schema)
        self._count(once, dict[str | None, Decided](own) | {None: every})
        # A request that Cedar can't read is the same for each grant.
        if self._each and not once.is_unreadable:
            requests = [vocabulary.request(device_id, name, context) for name in self._grants]
            for name, result in zip(own, self._each(requests, entities, self._schema), strict=True):
                self._count(result, {None: own[name], name: own[name]})
        return {name: every + found for name, found in own.items()}

    def _count(self, result: _Result, grants: dict[str | None, Decided]) -> None:
        """Add the rules of a result to the grants that they are about."""
        for key in result.applying:
            rule = self._rules[key]
            if rule.grant in grants:
                found = grants[rule.grant]
                (found.permits if rule.permits else found.forbids).append(rule.name)
        for failed, text in result.errors:
            about = self._rules[failed].grant if failed else None
            if about in grants:
                grants[about].errors.append(text)


@dataclass(frozen=True)
class _Result:
    """The keys of the rules that apply, and the errors, each with the key of its rule if it has one."""

    applying: list[str]
    errors: list[tuple[str | None, str]]

    @property
    def is_unreadable(self) -> bool:
        """Return whether Cedar could not read the request, and evaluated no rule."""
        return any(key is None for key, _ in self.errors)


class _Evaluated:
    """Rules in the form in which Cedar's answer names all of those that apply."""

    def __init__(self, policies: dict[str, vocabulary.Json]) -> None:
        every = {"effect": "permit", "resource": {"op": "All"}}
        changed = {key: policy | every for key, policy in policies.items()}
        document = {"staticPolicies": changed, "templates": {}, "templateLinks": []}
        self._policies = PolicySet.from_json_str(json.dumps(document))

    def __call__(
        self, requests: list[vocabulary.Json], entities: Entities, schema: Schema
    ) -> Iterator[_Result]:
        """Yield the result of each request."""
        for result in is_authorized_batch(requests, self._policies, entities, schema):
            found = result.diagnostics
            yield _Result(found.reasons, [(_rule_of(text), text) for text in sorted(found.errors)])


def _rule_of(error: str) -> str | None:
    """Return the key of the rule that an error of Cedar is about, or None if it is about the request."""
    found = _ERROR.match(error)
    return found[1] if found else None


def _rule(policy: vocabulary.Json) -> _Rule:
    name = policy.get("annotations", {}).get("id") or ""
    return _Rule(name, policy["effect"] == "permit", _scope(policy["resource"]))


def _scope(resource: vocabulary.Json) -> str | None:
    """Return the only grant that a rule's scope fits, None if it fits each, or _NO_GRANT if it fits none."""
    # `in` is equality here, because no grant is in another entity.
    entity = resource.get("entity") or resource.get("in", {}).get("entity")
    kind = resource.get("entity_type") or (entity or {}).get("type") or "Grant"
    if kind != "Grant" or (entity and entity["type"] != "Grant"):
        return _NO_GRANT
    return entity["id"] if entity else None


def _reads_resource(policy: vocabulary.Json) -> bool:
    return any(node.get("Var") == "resource" for node in vocabulary.nodes(policy["conditions"]))
