"""A Lambda's role in the running cloud, with all its rights or without one."""

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
    """A role with one inline policy.

    `template` are its statements as CDK wrote them, in the order of the deployed policy.
    """

    iam: Any
    name: str
    policy: str
    template: list[Statement]

    def document(self) -> dict[str, Any]:
        """Return the deployed policy."""
        found: dict[str, Any] = self.iam.get_role_policy(RoleName=self.name, PolicyName=self.policy)
        return dict(found["PolicyDocument"])

    @property
    def rights(self) -> set[Right]:
        """Each action with each of its resources."""
        return {
            (action, spell(resource))
            for statement in self.template
            for action in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        }

    @contextmanager
    def without(self, right: Right) -> Iterator[None]:
        """Take one right from the role within the context."""
        whole = self.document()
        statements = [
            part
            for written, deployed in zip(self.template, whole["Statement"], strict=True)
            for part in without(written, deployed, right)
        ]
        assert statements != whole["Statement"], f"the role does not have {right}"
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
    """Return the statement without the right: other actions on all resources, and the action on others."""
    action, resource = right
    actions, resources = listed(deployed["Action"]), listed(deployed["Resource"])
    spelled = [spell(each) for each in listed(written["Resource"])]
    if action not in actions or resource not in spelled:
        return [deployed]
    others = [each for each in actions if each != action]
    elsewhere = [arn for arn, name in zip(resources, spelled, strict=True) if name != resource]
    left = [deployed | {"Action": others}] if others else []
    return left + ([deployed | {"Action": action, "Resource": elsewhere}] if elsewhere else [])
