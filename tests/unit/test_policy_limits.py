"""Test the limits of STS and of the device client, each at its edge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.errors import (
    DeviceIdInvalid,
    DurationTooLong,
    FirstbootError,
    RoleNotAssumable,
    SessionPolicyTooLarge,
)
from firstboot.domain.names import DeviceId
from firstboot.domain.session import SessionRequest
from firstboot.policy import limits
from firstboot.policy.errors import AnswerTooLarge, AttributesInvalid, PoliciesTooLarge

GOOD = SessionRequest("arn:aws:iam::1:role/r", DeviceId("dev-1"), "{}", 900, {"deviceId": "dev-1"})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"policy": "x" * 2_048},
        {"seconds": 3_600},
        {"device_id": "d" * 64},
        {"device_id": "d"},
        {"device_id": "a:b"},
        {"tags": {}},
        {"tags": {f"key{n}": "" for n in range(50)}},
        {"tags": {"k" * 128: "v" * 256}},
        {"tags": {"a Z0_.:/=+-@": "a Z0_.:/=+-@"}},
    ],
)
def test_at_the_limit_is_fine(changes: dict[str, Any]) -> None:
    """A session request exactly at AWS's limits passes."""
    limits.check_session(replace(GOOD, **changes))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"policy": "x" * 2_049}, SessionPolicyTooLarge),
        ({"policy": ""}, RoleNotAssumable),
        ({"policy": "é"}, RoleNotAssumable),
        ({"policy": "{\n}"}, RoleNotAssumable),
        ({"seconds": 3_601}, DurationTooLong),
        ({"seconds": 899}, RoleNotAssumable),
        ({"device_id": ""}, DeviceIdInvalid),
        ({"device_id": "d" * 65}, DeviceIdInvalid),
        ({"device_id": "a,b"}, DeviceIdInvalid),
        ({"device_id": "aws:b"}, DeviceIdInvalid),
        ({"tags": {f"key{n}": "" for n in range(51)}}, RoleNotAssumable),
        ({"tags": {"k" * 129: ""}}, RoleNotAssumable),
        ({"tags": {"": ""}}, RoleNotAssumable),
        ({"tags": {"AWS:x": ""}}, RoleNotAssumable),
        ({"tags": {"k": "v" * 257}}, RoleNotAssumable),
        ({"tags": {"k": "a,b"}}, RoleNotAssumable),
        ({"tags": {"k": "a\n"}}, RoleNotAssumable),
    ],
)
def test_beyond_the_limit_is_refused(changes: dict[str, Any], error: type[FirstbootError]) -> None:
    """A session request that AWS would refuse is refused before the call to AWS."""
    with pytest.raises(error):
        limits.check_session(replace(GOOD, **changes))


@given(size=st.integers(0, 10_000), limit=st.integers(0, 10_000))
def test_an_answer_is_refused_above_its_limit(size: int, limit: int) -> None:
    """An answer is refused above its limit alone, and the detail has both sizes and what to do."""
    if size <= limit:
        limits.check_answer(size, limit)
        return
    with pytest.raises(AnswerTooLarge) as refused:
        limits.check_answer(size, limit)
    assert f"{size:,} bytes" in refused.value.detail
    assert f"takes {limit:,}: give the device fewer or smaller grants" in refused.value.detail
    assert (refused.value.status, refused.value.log) == (400, refused.value.detail)


@pytest.mark.parametrize(
    ("changes", "log"),
    [
        ({"policy": "x" * 2_049}, "session policy of 2049 characters"),
        ({"policy": ""}, "the session policy is empty or not printable ASCII"),
        ({"seconds": 3_601}, "session of 3601 s"),
        ({"seconds": 899}, "session of 899 s"),
        ({"tags": {f"key{n}": "" for n in range(51)}}, "51 session tags"),
        ({"tags": {"k" * 200: ""}}, f"session tag '{'k' * 128}' or its value"),
    ],
)
def test_the_log_says_which_limit(changes: dict[str, Any], log: str) -> None:
    """The log of a refused session request says which limit it exceeds."""
    with pytest.raises(FirstbootError) as caught:
        limits.check_session(replace(GOOD, **changes))
    assert caught.value.log == log


def test_an_authorizers_answer_has_ten_documents() -> None:
    """An authorizer's answer has at most ten documents of 2,048 characters each."""
    limits.check_documents([])
    limits.check_documents([2_048] * 10)
    for sizes in ([1] * 11, [1, 2_049]):
        with pytest.raises(PoliciesTooLarge) as caught:
            limits.check_documents(sizes)
        assert caught.value.log == f"{len(sizes)} documents, the longest of {max(sizes)} characters"


def test_attributes_have_2048_characters() -> None:
    """A device's attributes have at most 2,048 characters as JSON."""
    limits.check_attributes({"a": "x" * 2_039})
    with pytest.raises(AttributesInvalid) as caught:
        limits.check_attributes({"a": "x" * 2_040})
    expected = "A device's attributes must have at most 2048 characters as JSON; these have 2049"
    assert caught.value.detail == expected


def test_a_thing_has_fifty_attributes_that_aws_iot_accepts() -> None:
    """A thing has the first 50 attributes by name whose name and value AWS IoT accepts, as text."""
    assert limits.thing_attributes(
        {"b": True, "a": 7, "c": "X y", "d!": "x", "e": "", "f": "Y", "g": False}
    ) == {
        "a": "7",
        "b": "true",
        "f": "Y",
        "g": "false",
    }
    many: dict[str, Any] = {f"a{number:03}": "x" for number in reversed(range(51))}
    assert list(limits.thing_attributes(many)) == [f"a{number:03}" for number in range(50)]
    longest: dict[str, Any] = {"n" * 128: "v" * 800}
    assert limits.thing_attributes(longest) == longest
    assert limits.thing_attributes({"n" * 129: "v", "n": "v" * 801}) == {}
