"""Test how often the device repeats a call, and how long it waits before each repetition."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from device import answers
from device.known import patience_of
from device.patience import OVERLOAD, Patience, jitter
from device.refusal import Action, Refused
from device.transport import Answer


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


def overloaded(after: float | None = None, action: Action = Action.RETRY) -> Refused:
    """Return a refusal because of too many requests."""
    return Refused(action, "too many", retry_after=after, overloaded=True)


@pytest.mark.parametrize(
    "known", [{"mtls": "https://api"}, {"public": "https://api"}, {"mqtt": "broker:8883"}]
)
def test_a_slot_of_an_hour_is_waited_for(known: dict[str, str]) -> None:
    """A boot waits for a slot of an hour and a bit over every transport, and gives up a longer one."""
    patience = patience_of(known)
    slot = patience.pause(overloaded(3_900, Action.WAIT), 0)
    assert slot is not None
    assert 3_900 <= slot <= 3_901
    assert patience.pause(overloaded(3_901, Action.WAIT), 0) is None
    assert patience.pause(retry(3_900), 0) is None


def test_overload_is_counted_on_its_own() -> None:
    """Refusals of too many requests end a boot after tries of their own, which other refusals don't use."""
    pauses: list[float] = []
    patience = Patience(tries=3, overload=OVERLOAD, sleep=pauses.append, jitter=lambda: 0)
    mixed = [*[overloaded(60)] * 23, *[retry()] * 2]
    assert patience(failing(*mixed)) == "done"
    assert pauses == [60] * 23 + [0, 0]
    with pytest.raises(Refused):
        patience(failing(*[overloaded(60)] * 24))


def test_a_bare_overload_has_longer_pauses() -> None:
    """After refusals of too many requests that name no time, the bounds of the pauses grow to 16 minutes."""
    pauses: list[float] = []
    patience = Patience(overload=OVERLOAD, sleep=pauses.append, jitter=lambda: 0.5)
    assert patience(failing(*[overloaded()] * 5)) == "done"
    assert pauses == [120, 480, 480, 480, 480]


@pytest.mark.parametrize(
    ("status", "members", "overloaded"),
    [
        (429, {}, True),
        (429, {"action": "wait", "retryAfter": 7}, True),
        (503, {"action": "retry", "retryAfter": 7}, True),
        (202, {"retryAfter": 7}, True),
        (503, {}, False),
        (500, {"retryAfter": 7}, False),
        (409, {"action": "wait", "retryAfter": 7}, False),
    ],
)
def test_too_many_requests_are_known_by_the_status(
    status: int, members: dict[str, Any], *, overloaded: bool
) -> None:
    """A 429, and a 202 or 503 with a time, say that there are too many requests. A bare 503 is a fault."""
    with pytest.raises(Refused) as caught:
        answers.success(Answer(status, Message(), json.dumps(members).encode()))
    assert caught.value.overloaded is overloaded


def test_the_script_has_the_same_numbers() -> None:
    """firstboot.sh has the tries and the bounds of the reference client over HTTPS."""
    script = (Path(__file__).parents[2] / "device/firstboot.sh").read_text()

    def numbers(pattern: str) -> list[int]:
        (found,) = re.findall(pattern, script)
        return [int(number) for number in found]

    tries, bound, more_tries, more_bound = numbers(
        r"tries=(\d+) bound=(\d+) overload_tries=(\d+) overload_bound=(\d+)"
    )
    assert (tries, bound) == (Patience.tries, Patience.base)
    assert (more_tries, more_bound) == (OVERLOAD.tries, OVERLOAD.base)
    factor, cap, again = numbers(r"pause \* (\d+) < (\d+) \? pause \* \d+ : (\d+)")
    assert (factor, cap, again) == (OVERLOAD.factor, OVERLOAD.cap, OVERLOAD.cap)
    assert [int(number) for number in re.findall(r"longest=(\d+)", script)] == [
        OVERLOAD.longest,
        Patience.longest,
    ]


def test_pauses_come_from_the_operating_system() -> None:
    """The pauses come from the operating system's random source, which boards of one image don't share."""
    assert isinstance(getattr(jitter, "__self__", None), random.SystemRandom)
    assert Patience().jitter is jitter
