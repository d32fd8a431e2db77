"""A permissions boundary is on all roles, and the documented one is wide enough."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import DOMAIN, ROOT, Synthesised, spell, synthesise
from tests.infra.test_functions import FLEET_ROLES, listed

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

(DOCUMENTED,) = re.findall(
    r"^```json\n(\{\"Version.*?)^```$", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_every_role_is_bounded(tmp_path: Path, mtls_stack: Synthesised) -> None:
    """CDK's own context puts a boundary on the roles of our Lambdas, CDK's framework, AWS IoT and devices."""
    context: dict[str, Any] = {"@aws-cdk/core:permissionsBoundary": {"name": "platform-boundary"}}
    roles = synthesise(tmp_path, domain=DOMAIN, **context).resources("AWS::IAM::Role")
    assert roles.keys() == mtls_stack.resources("AWS::IAM::Role").keys()
    assert {f"VendSessions{alias}" for alias in FLEET_ROLES} < roles.keys()
    for name, role in roles.items():
        bound = spell(role["Properties"]["PermissionsBoundary"])
        assert bound == "arn:${AWS::Partition}:iam::${AWS::AccountId}:policy/platform-boundary", name


def test_the_documented_boundary_lets_everything_work(mtls_stack: Synthesised) -> None:
    """The documented boundary has exactly the actions of all roles, and fits into a managed policy."""
    (statement,) = json.loads(DOCUMENTED)["Statement"]
    policies = mtls_stack.resources("AWS::IAM::Policy").values()
    # The key's policy alone grants kms:Sign, but the boundary limits it too.
    assert set(statement["Action"]) == {"kms:Sign"} | {
        action
        for policy in policies
        for each in policy["Properties"]["PolicyDocument"]["Statement"]
        for action in listed(each["Action"])
    }
    # IAM and STS quotas count a managed policy's characters without white space.
    assert len(re.sub(r"\s", "", DOCUMENTED)) <= 6_144
