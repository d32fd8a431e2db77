"""What the security reviewer's report reads from the template that is deployed."""

from __future__ import annotations

import pytest

from console import template
from tests.infra.conftest import Synthesised, spell

# One worker, one synthesis.
pytestmark = pytest.mark.xdist_group("infra")


def test_the_signers_are_exchange_and_authority(stack: Synthesised) -> None:
    """The report finds them among the real roles, since the key's policy names them, and no others."""
    signing = {spell(role.name) for role in template.roles(stack.template) if role.signs}
    assert signing == {"ExchangeRole", "ExchangeMqttRole", "AuthorityFunctionRole"}
    (key,) = template.keys(stack.template)
    assert {spell(name[2:-5]) for name in key.signers} == signing


def test_every_role_is_told_whole(stack: Synthesised) -> None:
    """As many roles as the template has, none without a statement, each statement with its resources."""
    found = template.roles(stack.template)
    assert len(found) == len(stack.resources("AWS::IAM::Role"))
    statements = [statement for role in found for statement in role.statements]
    assert all(role.statements and role.assumed_by for role in found)
    assert all(statement.actions and statement.resources for statement in statements)
    assert any(
        resource == "${" + name + ".Arn}"
        for name in stack.template["Resources"]
        for statement in statements
        for resource in statement.resources
    )
