"""The compiler checks symmetric keys, and a published fleet turns none on without a deployment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firstboot.compiler import symmetric
from firstboot.compiler.deployment import needs_deployment
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId
from firstboot.domain.ways import DEFAULT
from firstboot.identity.symmetric import binding
from tests import factories
from tests.fleets import fleet, group

FACTORY = factories.authority()
GROUP = group("sensors", FACTORY, trust=(), ways=(*DEFAULT, "dps"), symmetric_key=True)


def scoped(*groups: Group, id_scope: str = "0ne00000A0B") -> Fleet:
    """Return a fleet with an id scope."""
    return replace(fleet(*groups), id_scope=id_scope)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (scoped(replace(GROUP, symmetric_key=False)), "has no file in trust and no symmetric_key"),
        (scoped(replace(GROUP, budget=None)), "must have a budget"),
        (scoped(GROUP, id_scope=""), "the fleet must have an id_scope"),
        (scoped(GROUP, id_scope="a/b"), "id_scope must consist of letters and digits"),
    ],
)
def test_a_wrong_definition_is_a_problem(wrong: Fleet, problem: str) -> None:
    """A group without evidence, one without a budget, and a wrong or missing id scope are problems."""
    (line,) = symmetric.problems(wrong)
    assert line.startswith("fleet.toml: ")
    assert problem in line


def test_a_right_definition_is_none() -> None:
    """A group may have symmetric keys, or trust anchors, or both; it may close the way and keep its keys."""
    both = replace(GROUP, trust=(factories.pem(FACTORY.certificate),))
    for right in (GROUP, both, replace(both, symmetric_key=False), replace(GROUP, ways=DEFAULT)):
        assert symmetric.problems(scoped(right)) == []
    assert symmetric.problems(fleet(group("gateways", FACTORY))) == []


def test_a_key_needs_a_deployment_as_an_anchor_does() -> None:
    """A published fleet lets no key admit devices to a group that had none, also under another name."""
    without = scoped(replace(GROUP, trust=(factories.pem(FACTORY.certificate),), symmetric_key=False))
    with_key = scoped(replace(GROUP, trust=(factories.pem(FACTORY.certificate),)))
    assert needs_deployment(without, with_key) == [
        "no symmetric key admits devices to the deployed groups sensors"
    ]
    assert needs_deployment(with_key, without) == []
    renamed = replace(
        GROUP, name="probes", formerly=("sensors",), trust=(factories.pem(FACTORY.certificate),)
    )
    assert needs_deployment(with_key, scoped(renamed)) == []


def test_a_binding_is_of_a_group_and_a_name() -> None:
    """A name's binding differs by group and name, and a renamed group keeps it."""
    name = DeviceId("sn-1")
    assert binding(name, GROUP) != binding(DeviceId("sn-2"), GROUP)
    assert binding(name, GROUP) != binding(name, replace(GROUP, name="other"))
    assert binding(name, GROUP) == binding(name, replace(GROUP, name="other", formerly=("sensors",)))
