"""The devices of flows make shorter pauses than the product's, and give up where it gives up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from device.patience import Patience
from device.refusal import Action, Refused
from tests.flows import devices

SLEPT: list[float] = []


@pytest.fixture(autouse=True)
def _slept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note the pauses in the place of making them."""
    SLEPT.clear()
    monkeypatch.setattr("tests.flows.devices.time.sleep", SLEPT.append)


def answers(*given: Refused | str) -> Callable[[], Any]:
    """Return a call that raises or returns the next of `given`."""
    left: Iterator[Refused | str] = iter(given)

    def call() -> str:
        answer = next(left)
        if isinstance(answer, Refused):
            raise answer
        return answer

    return call


def test_a_named_time_is_not_waited_for() -> None:
    """A device that is told to wait for five seconds asks again after a fifth of a second."""
    patience = Patience(sleep=SLEPT.append)
    wait = Refused(Action.WAIT, "not yet", retry_after=5.0)
    assert devices._eager(patience, answers(wait, wait, "ready")) == "ready"
    assert SLEPT == [0.2, 0.2]


def test_too_long_a_time_is_given_up() -> None:
    """A device that is told to wait for longer than it may gives up, as the product's does."""
    patience = Patience(longest=10, sleep=SLEPT.append)
    with pytest.raises(Refused):
        devices._eager(patience, answers(Refused(Action.WAIT, "frozen", retry_after=11.0)))
    assert SLEPT == []


def test_a_restless_device_tries_as_often() -> None:
    """A restless device makes the tries of the product's, without a pause."""
    patience = Patience(tries=3, sleep=SLEPT.append)
    again = Refused(Action.RETRY, "no connection")
    assert devices._restless(patience, answers(again, again, "ready")) == "ready"
    with pytest.raises(Refused):
        devices._restless(patience, answers(again, again, again, "ready"))
    assert SLEPT == []
