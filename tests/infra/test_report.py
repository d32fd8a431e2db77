"""The security reviewer's report reads the stack's template."""

from __future__ import annotations

import pytest

from console import template
from tests.infra.conftest import Synthesised, spell

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")


def test_the_signers_are_exchange_and_authority(stack: Synthesised) -> None:
    """The report names exactly the roles that the key's policy lets sign."""
    signing = {spell(role.name) for role in template.roles(stack.template) if role.signs}
    assert signing == {"ExchangeRole", "ExchangeMqttRole", "AuthorityFunctionRole"}
    (key,) = template.keys(stack.template)
    assert {spell(name[2:-5]) for name in key.signers} == signing


def test_every_role_is_reported_whole(stack: Synthesised) -> None:
    """The report has all roles of the template, each with all its statements and their resources."""
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
