"""Least privilege: a role can do what its flows need, and nothing else."""

from __future__ import annotations

import pytest

from tests.privilege.roles import Right
from tests.privilege.scene import BrokenError, Scene
from tests.privilege.table import FLOWS, UNSEEN, Flow

CASES = [(function, right, flow) for function, rights in FLOWS.items() for right, flow in rights.items()]


def name(case: tuple[str, Right, Flow]) -> str:
    """A case's name."""
    function, (action, resource), flow = case
    return f"{function}-{action}-{resource}-{flow.__name__}"


@pytest.mark.parametrize(("function", "right", "flow"), CASES, ids=map(name, CASES))
def test_a_flow_needs_the_right(scene: Scene, function: str, right: Right, flow: Flow) -> None:
    """Without this one right the flow breaks; with the role as it is, it works."""
    with scene.role(function).without(right), pytest.raises(BrokenError):
        flow(scene)
    flow(scene)


@pytest.mark.parametrize("role", FLOWS)
def test_every_right_is_accounted_for(scene: Scene, role: str) -> None:
    """What the deployed role allows is in one of the two tables, and in one of them only."""
    seen, unseen = FLOWS[role].keys(), UNSEEN[role].keys()
    assert seen | unseen == scene.role(role).rights
    assert not seen & unseen


def test_every_role_is_accounted_for(scene: Scene) -> None:
    """But the fleet's, which are a ceiling: a session has less, and tests/isolation is about that."""
    roles = {name for name, each in scene.template.items() if each["Type"] == "AWS::IAM::Role"}
    fleets = {name for name in roles if name.startswith("VendSessions")}
    assert roles - fleets == {f"{name}Role" for name in FLOWS}
