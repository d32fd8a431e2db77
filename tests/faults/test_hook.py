"""The pre-provisioning hook: a device that asks once while an AWS call fails, and one that begins again.

The fault matrix has devices that repeat their request.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import provisioning
from tests.faults.flows import FLOWS, Flow, Stage, bootstrap
from tests.faults.matrix import Prepared, Run, prepared
from tests.faults.state import State
from tests.faults.wire import Fault, Kind

_NAME = "fleet provisioning, asked once"
_CLAIM = "dynamodb:TransactWriteItems"

WITHOUT_EFFECT = (Kind.THROTTLE, Kind.CONNECTION, Kind.FAILURE, Kind.DENIED, Kind.CRASH_BEFORE)
AFTER_EFFECT = (Kind.LOST, Kind.CUT_OFF, Kind.TIMEOUT, Kind.CRASH_AFTER)
FAILING = WITHOUT_EFFECT + AFTER_EFFECT
"""The kinds of faults after which a call has no answer that the hook could use."""


def _prepare(stage: Stage) -> None:
    provisioning.prepare(bootstrap(stage.board), 1)


def _ask_once(stage: Stage) -> None:
    """Let the device send RegisterThing once, or not at all."""
    if "silent" in stage.kept:
        return
    claim, made = bootstrap(stage.board), provisioning.certificate(1)
    answer = stage.world.invoke(lambda: provisioning.ask(stage.world, claim, made))
    is_accepted = answer == provisioning.ACCEPTED
    stage.world.outcomes.append("accepted" if is_accepted else "rejected")


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prepared]:
    """Return the flow of a device that asks once, and does not connect."""
    monkeypatch.setitem(FLOWS, _NAME, Flow(_prepare, _ask_once))
    with prepared(_NAME) as made:
        yield made


def _struck(flow: Prepared, kind: Kind, number: int) -> Run:
    run = flow.run(Fault(kind, number))
    assert run.reached
    return run


def _left(run: Run) -> State:
    """Return what a run has left in AWS."""
    return {name: value for name, value in run.state.items() if name != "outcomes"}


def _never_asked(flow: Prepared) -> State:
    return _left(flow.run(before=lambda stage: stage.kept.update(silent=True)))


def test_the_device_is_rejected(flow: Prepared) -> None:
    """The hook allows a device without a fault, and no device while any of its calls fails."""
    assert flow.undisturbed.state["outcomes"] == ["accepted"]
    cells = [(kind, number) for kind in FAILING for number in range(len(flow.undisturbed.calls))]
    answers = {cell: _struck(flow, *cell).state["outcomes"] for cell in cells}
    assert answers == {cell: ["rejected"] for cell in cells}


def test_nothing_is_left_before_the_claim(flow: Prepared) -> None:
    """If the claim was not made, all is as if AWS IoT had made the certificate and no device had used it."""
    claim, nothing = flow.undisturbed.calls.index(_CLAIM), _never_asked(flow)
    cells = [(kind, number) for kind in FAILING for number in range(claim + (kind in WITHOUT_EFFECT))]
    assert [cell for cell in cells if _left(_struck(flow, *cell)) != nothing] == []


def test_a_claim_alone_gives_no_right(flow: Prepared) -> None:
    """After a claim without an object AWS IoT has no thing, and the certificate is not active."""
    claim, nothing = flow.undisturbed.calls.index(_CLAIM), _never_asked(flow)
    for kind in AFTER_EFFECT:
        left = _left(_struck(flow, kind, claim))
        assert left["aws iot"] == nothing["aws iot"]
        assert not [key for key in left["objects"] if key.startswith("certificates/")]


def test_an_abandoned_certificate_is_withdrawn() -> None:
    """After the device began again, only its second certificate has policies, and the first is inactive."""
    with prepared("fleet provisioning, again") as flow:
        found = flow.undisturbed.state
    certificates = found["aws iot"]["certificates"]
    second = found["rows"]["DEV#gw-1"]["active"]["certificateId"]
    assert [name for name, (_, policies) in certificates.items() if policies] == [second]
    # The other active one is the claim certificate.
    assert sorted(status for status, _ in certificates.values()) == ["ACTIVE", "ACTIVE", "INACTIVE"]
