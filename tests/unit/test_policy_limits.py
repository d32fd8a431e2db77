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
from firstboot.policy.errors import AnswerTooLarge

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
