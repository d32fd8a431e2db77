"""A Lambda's role in the running cloud: what it may do, and what is left when one right is taken away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.infra.conftest import spell
from tests.infra.test_functions import listed

Statement = dict[str, Any]
Right = tuple[str, str]
"""An action, and a resource as the template's tests spell it."""


@dataclass(frozen=True)
class Role:
    """A role with one inline policy. `template` are its statements as CDK wrote them, in the same order
    as those of the deployed policy.
    """

    iam: Any
    name: str
    policy: str
    template: list[Statement]

    def document(self) -> dict[str, Any]:
        """The deployed policy."""
        found: dict[str, Any] = self.iam.get_role_policy(RoleName=self.name, PolicyName=self.policy)
        return dict(found["PolicyDocument"])

    @property
    def rights(self) -> set[Right]:
        """Every action with every resource."""
        return {
            (action, spell(resource))
            for statement in self.template
            for action in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        }

    @contextmanager
    def without(self, right: Right) -> Iterator[None]:
        """The role without one right."""
        whole = self.document()
        statements = [
            part
            for written, deployed in zip(self.template, whole["Statement"], strict=True)
            for part in without(written, deployed, right)
        ]
        assert statements != whole["Statement"], f"there is no {right} to take away"
        self._put(whole | {"Statement": statements})
        try:
            yield
        finally:
            self._put(whole)

    def _put(self, document: dict[str, Any]) -> None:
        self.iam.put_role_policy(
            RoleName=self.name, PolicyName=self.policy, PolicyDocument=json.dumps(document)
        )


def without(written: Statement, deployed: Statement, right: Right) -> list[Statement]:
    """What is left of a statement: its other actions on all its resources, and this one on the others."""
    action, resource = right
    actions, resources = listed(deployed["Action"]), listed(deployed["Resource"])
    spelled = [spell(each) for each in listed(written["Resource"])]
    if action not in actions or resource not in spelled:
        return [deployed]
    others = [each for each in actions if each != action]
    elsewhere = [arn for arn, name in zip(resources, spelled, strict=True) if name != resource]
    left = [deployed | {"Action": others}] if others else []
    return left + ([deployed | {"Action": action, "Resource": elsewhere}] if elsewhere else [])
