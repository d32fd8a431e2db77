"""A role has the rights that its flows need, and no others."""

from __future__ import annotations

import pytest

from tests.privilege.roles import Right
from tests.privilege.scene import BrokenError, Scene
from tests.privilege.table import FLOWS, UNSEEN, Flow

CASES = [
    (function, flow, [right for right, each in rights.items() if each is flow])
    for function, rights in FLOWS.items()
    for flow in dict.fromkeys(rights.values())
]


@pytest.mark.parametrize(
    ("function", "flow", "rights"), CASES, ids=[f"{function}-{flow.__name__}" for function, flow, _ in CASES]
)
def test_a_flow_needs_its_rights(scene: Scene, function: str, flow: Flow, rights: list[Right]) -> None:
    """A flow breaks without each one of its rights, and works with all of them.

    It must work after the broken runs, so that what they left behind does not break a later run.
    """
    for right in rights:
        with scene.role(function).without(right):
            assert breaks(scene, flow), f"{flow.__name__} works without {right}"
    flow(scene)


def breaks(scene: Scene, flow: Flow) -> bool:
    """Return whether a flow breaks."""
    try:
        flow(scene)
    except BrokenError:
        return True
    return False


@pytest.mark.parametrize("role", FLOWS)
def test_every_right_is_accounted_for(scene: Scene, role: str) -> None:
    """Each right of the deployed role is in exactly one of the two tables."""
    seen, unseen = FLOWS[role].keys(), UNSEEN[role].keys()
    assert seen | unseen == scene.role(role).rights
    assert not seen & unseen


def test_every_role_is_accounted_for(scene: Scene) -> None:
    """The table has all roles but the fleet roles, whose sessions tests/isolation tests."""
    roles = {name for name, each in scene.template.items() if each["Type"] == "AWS::IAM::Role"}
    fleets = {name for name in roles if name.startswith("VendSessions")}
    assert roles - fleets == {f"{name}Role" for name in FLOWS}
