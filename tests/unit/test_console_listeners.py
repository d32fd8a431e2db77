"""Policies of others that reach the topics of devices."""

from __future__ import annotations

import time
from typing import Any

import pytest

from console import diagnosis
from console.diagnosis import Level
from console.listeners import Reach, reach
from firstboot.domain import topics
from firstboot.policy.render import Place
from firstboot.policy.service import ServicePolicy

PLACE = Place("aws", "eu-central-1", "123456789012")
ARN = "arn:aws:iot:eu-central-1:123456789012:"
HEAR, SPEAK = {Reach.HEAR}, {Reach.SPEAK}
NONE: set[Reach] = set()


def allow(action: Any, *resources: str, **more: Any) -> dict[str, Any]:
    """Return a policy with one statement that allows. A resource without an ARN gets this place's."""
    return {"Version": "2012-10-17", "Statement": [statement("Allow", action, *resources, **more)]}


def statement(effect: str, action: Any, *resources: str, **more: Any) -> dict[str, Any]:
    """Return a statement."""
    found = [each if each == "*" or each.startswith("arn:") else ARN + each for each in resources]
    return {"Effect": effect, "Action": action} | ({"Resource": found} if found else {}) | more


@pytest.mark.parametrize(
    ("document", "reaches"),
    [
        (allow("iot:*", "*"), HEAR | SPEAK),
        (allow("*", "*"), HEAR | SPEAK),
        (allow("iot:Receive", "*"), HEAR),
        (allow(["iot:Connect", "iot:RECEIVE"], "topic/*"), HEAR),
        (allow("iot:Re*", "topic/*"), HEAR),
        (allow("iot:Receive", "topic/firstboot/*"), HEAR),
        (allow("iot:Receive", "topic/firstboot/*/accepted"), HEAR),
        (allow("iot:Receive", "topic/firstboot/*/credentials/accepted"), HEAR),
        (allow("iot:Receive", "topic/firstboot/gw-1/credentials/accepted"), HEAR),
        (allow("iot:Receive", "topic/firstboot/gw-?/credentials/accepted"), HEAR),
        (allow("iot:Receive", "topic/?irst*"), HEAR),
        (allow("iot:Receive", "topic/*/*/*/accepted"), HEAR),
        (allow("iot:Receive", "arn:aws:iot:*:*:topic/*"), HEAR),
        (allow("iot:Receive", "arn:*:topic/*/credentials/*"), HEAR),
        (allow("iot:Subscribe", "topicfilter/*"), HEAR),
        (allow("iot:Subscribe", "topicfilter/#"), HEAR),
        (allow("iot:Subscribe", "topicfilter/firstboot/#"), HEAR),
        (allow("iot:Subscribe", "topicfilter/+/+/+/+"), HEAR),
        (allow("iot:Subscribe", "topicfilter/+/gw-1/credentials/accepted"), HEAR),
        (allow("iot:Subscribe", "topicfilter/firstboot/+/credentials/accepted"), HEAR),
        (allow("iot:Subscribe", "topicfilter/firstboot/+/credentials/accepted/#"), HEAR),
        (allow("iot:Subscribe", "topicfilter/$share/workers/firstboot/#"), HEAR),
        (allow("iot:Publish", "topic/*"), SPEAK),
        (allow("iot:Publish", "topic/firstboot/*/certificates/request"), SPEAK),
        (allow("iot:Publish", "topic/firstboot/gw-1/credentials/accepted"), SPEAK),
        (allow("iot:P*", "topic/firstboot/*"), SPEAK),
        ({"Statement": statement("Allow", "iot:Receive", "*")}, HEAR),
        ({"Statement": [{"Effect": "Allow", "NotAction": "iot:Publish", "Resource": "*"}]}, HEAR),
        ({"Statement": [{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}]}, HEAR | SPEAK),
        (allow("iot:Receive", NotResource=[f"{ARN}topic/app/*"]), HEAR),
        (allow("iot:Receive", "*", Condition={"Bool": {"iot:Connection.Thing.IsAttached": "true"}}), HEAR),
    ],
)
def test_a_policy_that_reaches_devices(document: dict[str, Any], reaches: set[Reach]) -> None:
    """A policy that could let a client hear or speak on another device's topics is found."""
    assert reach(document, PLACE) == reaches


@pytest.mark.parametrize(
    "document",
    [
        {"Statement": []},
        allow("iot:Connect", "*"),
        allow("iot:GetThingShadow", "*"),
        allow("s3:*", "*"),
        allow("iot:*", "client/*", "thing/*"),
        allow(["iot:Receive", "iot:Publish"], "topic/app/*", "topic/firstboo", "topic/firstboot"),
        allow("iot:Receive", "topic/firstboot/*/telemetry"),
        allow("iot:Receive", "topic/+/+/+/+", "topic/#", "topicfilter/*"),
        allow("iot:Receive", "topic/firstboot/a/b/credentials/accepted"),
        allow("iot:Receive", "topic/firstboot//credentials/accepted"),
        allow("iot:Receive", "topic/app/firstboot/gw-1/credentials/accepted"),
        allow("iot:Subscribe", "topicfilter/app/#", "topicfilter/firstboot", "topic/*"),
        allow("iot:Subscribe", "topicfilter/+", "topicfilter/+/+", "topicfilter/firstboot/+/app/#"),
        allow("iot:Receive", "topic/firstboot/${iot:ClientId}/*"),
        allow("iot:Receive", "topic/${iot:Connection.Thing.ThingName}/*"),
        allow("iot:Subscribe", "topicfilter/firstboot/${iot:ClientId}/credentials/accepted"),
        allow("iot:Receive", "arn:aws:iot:eu-central-1:999999999999:topic/*"),
        allow("iot:Receive", NotResource=[f"{ARN}topic/firstboot/*"]),
        {"Statement": [{"Effect": "Allow", "NotAction": ["iot:*"], "Resource": "*"}]},
        {"Statement": [statement("Allow", "iot:*", "*"), statement("Deny", "iot:*", "*")]},
        {
            "Statement": [
                statement("Allow", "iot:*", "*"),
                statement("Deny", ["iot:Receive", "iot:Publish"], "topic/firstboot/*"),
            ]
        },
    ],
)
def test_a_policy_that_reaches_no_device(document: dict[str, Any]) -> None:
    """A policy that lets a client reach its own topics only, or denies the rest, is not found."""
    assert reach(document, PLACE) == NONE


@pytest.mark.parametrize(
    "denied",
    [
        statement("Deny", "iot:Receive", "topic/firstboot/gw-1/*"),
        statement("Deny", "iot:Receive", "topic/firstboot/gw-?/*"),
        statement("Deny", "iot:Subscribe", "topicfilter/firstboot/*"),
        statement("Deny", "iot:Receive", "topic/firstboot/*", Condition={"Bool": {"x": "true"}}),
        statement("Deny", "iot:Receive", "topic/firstboot/${iot:ClientId}/*"),
        {"Effect": "Deny", "Action": "iot:Receive", "NotResource": [f"{ARN}topic/app/*"]},
    ],
)
def test_a_deny_of_a_part_hides_no_policy(denied: dict[str, Any]) -> None:
    """A policy is found although it denies a part of what it allows, or denies under a condition."""
    document = {"Statement": [statement("Allow", ["iot:Receive", "iot:Subscribe"], "*"), denied]}
    assert reach(document, PLACE) == HEAR


def test_our_own_policies_reach_no_other_device() -> None:
    """No service policy reaches another device's topics."""
    reaches = {policy: reach(policy.document(PLACE), PLACE) for policy in ServicePolicy}
    assert {policy for policy, found in reaches.items() if found} == set()


@pytest.mark.parametrize(
    "odd", [{"Statement": ["x"]}, {"Statement": {"Effect": "Maybe"}}, {}, allow([7], "*")]
)
def test_what_is_no_policy_is_refused(odd: dict[str, Any]) -> None:
    """A document that is not a policy raises ValueError."""
    with pytest.raises(ValueError, match=r"policy|text"):
        reach(odd, PLACE)


def test_a_hostile_policy_takes_no_time() -> None:
    """A policy of 2,048 characters with many wildcards is judged within seconds."""
    actions, hard = ["iot:Receive", "iot:Subscribe", "iot:Publish"], "*" + "?*" * 30 + "d"
    worst = [statement("Allow", actions, "*"), *[statement("Deny", actions, hard + "x") for _ in range(20)]]
    started = time.process_time()
    assert reach({"Statement": worst}, PLACE) == HEAR | SPEAK
    assert reach(allow(actions, "*" + "?*" * 900 + "x"), PLACE) == NONE
    assert time.process_time() - started < 5


def test_each_policy_that_reaches_devices_is_named() -> None:
    """Each policy that reaches devices has a warning with its name, and unread ones have a line."""
    policies = {"everything": allow("iot:*", "*"), "app": allow("iot:Receive", "topic/app/*")}
    (line,) = diagnosis.listeners(policies, 0, PLACE)
    assert (line.level, line.what) == (Level.WARN, "AWS IoT policies: everything")
    assert "credentials" in line.detail
    (line,) = diagnosis.listeners({"app": policies["app"]}, 0, PLACE)
    assert (line.level, line.detail) == (Level.OK, "1 of others, none reaches devices' topics")
    (line,) = diagnosis.listeners({"app": policies["app"]}, 7, PLACE)
    assert (line.level, line.detail) == (Level.UNKNOWN, "7 more policies were not read")


def test_the_stack_s_policies_are_its_own() -> None:
    """The service policies and those of grants are the stack's, and no other name is."""
    own = [policy.policy_name("Acme") for policy in ServicePolicy] + ["Acme-grant-telemetry"]
    assert all(diagnosis.is_own_policy(name, "Acme") for name in own)
    assert not any(diagnosis.is_own_policy(name, "Acme") for name in ("Acme", "Acme-x", "Other-device"))


def test_every_call_has_targets() -> None:
    """The topics of each call are among those that a policy must not reach."""
    for call in topics.CALLS:
        for topic in call.answer_topics("gw-1"):
            assert reach(allow("iot:Receive", f"topic/{topic}"), PLACE) == HEAR
        assert reach(allow("iot:Publish", f"topic/{call.request_topic('gw-1')}"), PLACE) == SPEAK
