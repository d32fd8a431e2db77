"""Test how often the device repeats a call, and how long it waits before each repetition."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from device.patience import Patience
from device.refusal import Action, Refused


def failing(*refusals: Refused) -> Callable[[], str]:
    """Return a call that raises each of the refusals once and then succeeds."""
    left = list(refusals)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


def retry(after: float | None = None) -> Refused:
    """Return a refusal after which a retry may succeed."""
    return Refused(Action.RETRY, "busy", retry_after=after)


def test_pauses_double_up_to_a_bound_and_are_jittered() -> None:
    """Each pause is a random share of a bound that doubles with each try, up to the cap (full jitter)."""
    pauses: list[float] = []
    patience = Patience(cap=4, sleep=pauses.append, jitter=lambda: 0.5)
    assert patience(failing(*[retry()] * 5)) == "done"
    assert pauses == [0.5, 1.0, 2.0, 2.0, 2.0]


def test_tries_are_bounded() -> None:
    """The last refusal is raised after the configured number of tries."""
    pauses: list[float] = []
    with pytest.raises(Refused) as caught:
        Patience(tries=3, sleep=pauses.append)(failing(*[retry()] * 3))
    assert caught.value.action is Action.RETRY
    assert len(pauses) == 2


@pytest.mark.parametrize("action", [Action.RETRY, Action.WAIT])
def test_retry_after_is_kept_and_spread(action: Action) -> None:
    """The device waits at least as long as the answer asks, plus a random part that spreads the devices."""
    pauses: list[float] = []
    patience = Patience(sleep=pauses.append, jitter=lambda: 0.5)
    assert patience(failing(Refused(action, "later", retry_after=30))) == "done"
    assert pauses == [30.5]


def test_a_retry_after_beyond_reason_is_left_to_the_caller() -> None:
    """A wait above the device's limit raises the refusal at once and does not sleep."""
    pauses: list[float] = []
    with pytest.raises(Refused):
        Patience(longest=10, sleep=pauses.append)(failing(retry(11)))
    assert pauses == []


@pytest.mark.parametrize("action", [Action.STOP, Action.REENROLL, Action.WAIT])
def test_other_actions_are_not_repeated(action: Action) -> None:
    """The device does not repeat a call after another action, or after a wait of unknown length."""
    pauses: list[float] = []
    with pytest.raises(Refused) as caught:
        Patience(sleep=pauses.append)(failing(Refused(action, "no")))
    assert caught.value.action is action
    assert pauses == []
