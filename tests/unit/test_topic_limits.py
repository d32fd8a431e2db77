"""Test the warnings about topics that are too long for AWS IoT, and that Firstboot's own topics are not."""

from __future__ import annotations

from typing import Any

import pytest

from firstboot.compiler import topic_limits
from firstboot.compiler.templates import LONGEST
from firstboot.domain import topics
from firstboot.domain.names import RESERVED_PREFIX
from tests.unit.fleet_folders import fleet, grant, statement


def warnings(text: str, **changes: Any) -> list[str]:
    """Return the warnings about a grant of this topic."""
    arn = f"arn:{{partition}}:iot:{{region}}:{{account}}:topic/{text}"
    said = statement(**({"Action": "iot:Receive", "Resource": [arn]} | changes))
    return topic_limits.warnings(fleet(grants={"telemetry": grant(statement(), said)}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{deviceId}/a/b/c/d/e/f/g", None),
        ("{deviceId}/a/b/c/d/e/f/g/h", "has 8 slashes, and AWS IoT takes 7 in a topic"),
        ("{deviceId}/a/b/c/d/e/f/g*", None),
        ("$aws/things/{deviceId}/shadow/name/x/update/accepted", None),
        ("$aws/rules/r/{deviceId}/a/b/c/d/e/f/g", None),
        ("$aws/rules/r/{deviceId}/a/b/c/d/e/f/g/h", "has 8 slashes"),
        ("{deviceId}/" + "x" * 191, None),
        ("{deviceId}/" + "x" * 192, "has 257 bytes for a device id of 64, and AWS IoT takes 256 in a topic"),
        ("{deviceId}/" + "x" * 191 + "*", None),
        ("{deviceId}/{region}/" + "x" * 180, "has 261 bytes"),
    ],
)
def test_a_topic_beyond_a_limit_is_a_warning(text: str, said: str | None) -> None:
    """A topic of more than seven slashes, or of more than 256 bytes for the longest id, is a warning."""
    action = "iot:Publish" if text.startswith("$aws/rules") else "iot:Receive"
    found = warnings(text, Action=action)
    assert len(found) == bool(said)
    if said:
        assert found[0].startswith("grants/telemetry.json: statement 2: '")
        assert said in found[0]


def test_what_a_grant_denies_is_no_warning() -> None:
    """A Deny of a long topic takes nothing from a device, and is no warning."""
    assert warnings("{deviceId}/a/b/c/d/e/f/g/h", Effect="Deny") == []


@pytest.mark.parametrize("call", topics.CALLS, ids=lambda call: call.request)
def test_firstboots_topics_are_within_the_limits(call: topics.Call) -> None:
    """Firstboot's own topics have room for the longest client id."""
    longest = RESERVED_PREFIX + LONGEST
    for topic in [call.request_topic(longest), *call.answer_topics(longest)]:
        assert topic.count("/") <= topic_limits.SLASHES
        assert len(topic.encode()) <= topic_limits.BYTES
