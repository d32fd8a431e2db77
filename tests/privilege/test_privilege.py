"""Least privilege: a Lambda can do what its flows need, and nothing else."""

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


@pytest.mark.parametrize("function", FLOWS)
def test_every_right_is_accounted_for(scene: Scene, function: str) -> None:
    """What the deployed role allows is in one of the two tables, and in one of them only."""
    seen, unseen = FLOWS[function].keys(), UNSEEN[function].keys()
    assert seen | unseen == scene.role(function).rights
    assert not seen & unseen


def test_every_lambda_is_accounted_for(scene: Scene) -> None:
    """But CDK's own, whose rights tests/infra asserts: no Lambda of the deployed stack is left out."""
    lambdas = {name for name, each in scene.template.items() if each["Type"] == "AWS::Lambda::Function"}
    assert lambdas - {"AuthorityProviderframeworkonEvent"} == set(FLOWS)
