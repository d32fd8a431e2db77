"""How often the device repeats a call, and how long it waits in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from device.patience import Patience
from device.refusal import Action, Refused


def failing(*refusals: Refused) -> Callable[[], str]:
    """A call refused as told, then done."""
    left = list(refusals)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


def retry(after: float | None = None) -> Refused:
    """A refusal that passes."""
    return Refused(Action.RETRY, "busy", retry_after=after)


def test_pauses_double_up_to_a_bound_and_are_jittered() -> None:
    """Full jitter: each pause is a random share of a doubling one."""
    pauses: list[float] = []
    patience = Patience(cap=4, sleep=pauses.append, jitter=lambda: 0.5)
    assert patience(failing(*[retry()] * 5)) == "done"
    assert pauses == [0.5, 1.0, 2.0, 2.0, 2.0]


def test_tries_are_bounded() -> None:
    """The last refusal comes out, after as many calls as promised."""
    pauses: list[float] = []
    with pytest.raises(Refused) as caught:
        Patience(tries=3, sleep=pauses.append)(failing(*[retry()] * 3))
    assert caught.value.action is Action.RETRY
    assert len(pauses) == 2


@pytest.mark.parametrize("action", [Action.RETRY, Action.WAIT])
def test_retry_after_is_kept_and_spread(action: Action) -> None:
    """Never earlier than asked, and not all devices at the same moment."""
    pauses: list[float] = []
    patience = Patience(sleep=pauses.append, jitter=lambda: 0.5)
    assert patience(failing(Refused(action, "later", retry_after=30))) == "done"
    assert pauses == [30.5]


def test_a_retry_after_beyond_reason_is_left_to_the_caller() -> None:
    """The device says so and exits, rather than sleep for an hour."""
    pauses: list[float] = []
    with pytest.raises(Refused):
        Patience(longest=10, sleep=pauses.append)(failing(retry(11)))
    assert pauses == []


@pytest.mark.parametrize("action", [Action.STOP, Action.REENROLL, Action.WAIT])
def test_other_actions_are_not_repeated(action: Action) -> None:
    """The first answer is the answer; so is a wait of unknown length."""
    pauses: list[float] = []
    with pytest.raises(Refused) as caught:
        Patience(sleep=pauses.append)(failing(Refused(action, "no")))
    assert caught.value.action is action
    assert pauses == []
