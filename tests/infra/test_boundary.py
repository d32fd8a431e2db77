"""A permissions boundary: on every role, and the documented one is wide enough."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import DOMAIN, ROOT, Synthesised, spell, synthesise
from tests.infra.test_functions import FLEET_ROLES, listed

# One worker, one synthesis.
pytestmark = pytest.mark.xdist_group("infra")

(DOCUMENTED,) = re.findall(
    r"^```json\n(\{\"Version.*?)^```$", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE | re.DOTALL
)


def test_every_role_is_bounded(tmp_path: Path, mtls_stack: Synthesised) -> None:
    """By CDK's own context: our Lambdas' roles, CDK's framework's, AWS IoT's and those that devices get."""
    context: dict[str, Any] = {"@aws-cdk/core:permissionsBoundary": {"name": "platform-boundary"}}
    roles = synthesise(tmp_path, domain=DOMAIN, **context).resources("AWS::IAM::Role")
    assert roles.keys() == mtls_stack.resources("AWS::IAM::Role").keys()
    assert {f"VendSessions{alias}" for alias in FLEET_ROLES} < roles.keys()
    for name, role in roles.items():
        bound = spell(role["Properties"]["PermissionsBoundary"])
        assert bound == "arn:${AWS::Partition}:iam::${AWS::AccountId}:policy/platform-boundary", name


def test_the_documented_boundary_lets_everything_work(mtls_stack: Synthesised) -> None:
    """Every action of every role is in it and no other, and it fits into a managed policy."""
    (statement,) = json.loads(DOCUMENTED)["Statement"]
    policies = mtls_stack.resources("AWS::IAM::Policy").values()
    # Its policy lets the CA key be used; the boundary must, all the same.
    assert set(statement["Action"]) == {"kms:Sign"} | {
        action
        for policy in policies
        for each in policy["Properties"]["PolicyDocument"]["Statement"]
        for action in listed(each["Action"])
    }
    # IAM and STS quotas: characters of a managed policy, without white space.
    assert len(re.sub(r"\s", "", DOCUMENTED)) <= 6_144
