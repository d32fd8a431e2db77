"""The isolation tests find each loose grant, and the compiler refuses it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firstboot.compiler import templates
from firstboot.domain.names import DeviceId
from firstboot.policy import render
from firstboot.policy.render import Place
from tests.isolation.devices import HOSTILE_NAMES, accepted
from tests.isolation.evaluators import Context, Evaluator
from tests.isolation.fleets import ARN, LOCKED, OTHERS, Grant, Statement, Touch, allow, whole
from tests.isolation.pairs import Pair, pairs, wrong

PLACE = Place("aws", "eu-central-1", "123456789012")
DEVICES = tuple(map(DeviceId, ("dev1", "dev10", "DEV1", "10", "010", "fleet", "dev1-x", "xdev1", "x", "1")))
WITH_COLONS = tuple(map(DeviceId, ("dev1", "DEVICE:dev1", "dev1:x", "x", "fleet:data")))
BUCKET = "arn:{partition}:s3:::b"
TABLE, QUEUE = ARN % "dynamodb" + "table/t", ARN % "sqs" + "orders"
WORKGROUP = ARN % "athena" + "workgroup/{deviceId}"
TOPIC, FILTER, CLIENT = (f"{ARN % 'iot'}{kind}/" for kind in ("topic", "topicfilter", "client"))


def objects(*resources: str, **condition: Any) -> Grant:
    """Return a grant of objects, of which each device owns those under `b/{deviceId}/`."""
    touches = tuple(Touch("s3:GetObject", f"{BUCKET}/{{deviceId}}/{end}") for end in ("x", "{asker}/x"))
    return Grant((allow("s3:GetObject", list(resources), condition),), touches)


def items(condition: Any) -> Grant:
    """Return a grant of items, which a device owns by their keys."""

    def keys(*values: str) -> Context:
        return {"dynamodb:LeadingKeys": list(values)}

    touches = (
        Touch("dynamodb:BatchGetItem", TABLE, keys("{deviceId}")),
        Touch("dynamodb:BatchGetItem", TABLE, keys("{asker}", "{deviceId}"), OTHERS),
        Touch("dynamodb:Scan", TABLE, whose=OTHERS),
    )
    return Grant((allow(["dynamodb:BatchGetItem", "dynamodb:Scan"], TABLE, condition),), touches)


def listing(prefix: str) -> Grant:
    """Return a grant to list objects by prefix."""
    own = Touch("s3:ListBucket", BUCKET, {"s3:prefix": "{asker}"}, OTHERS, "{deviceId}/x")
    return Grant((allow("s3:ListBucket", BUCKET, {"StringEquals": {"s3:prefix": prefix}}),), (own,))


def messages(action: str, arn: str, loose: str, own: str = "{deviceId}/x") -> Grant:
    """Return a grant at AWS IoT."""
    return Grant((allow(action, arn + loose),), (Touch(action, arn + own),))


def beside(*reads: str, place: str = "fleet", **said: Any) -> Grant:
    """Return a grant to write below the id and to read `reads`, where no device may write below `place`."""
    statements = [allow("s3:PutObject", f"{BUCKET}/{{deviceId}}/*"), allow("s3:GetObject", list(reads))]
    touches = (
        Touch("s3:PutObject", f"{BUCKET}/{{deviceId}}/x"),
        Touch("s3:PutObject", f"{BUCKET}/{place}/x", whose=LOCKED),
    )
    return Grant(tuple(statements), touches, **said)


def common(*statements: Statement, **said: Any) -> Grant:
    """Return a grant by whose statements no device may write to a place of all."""
    written = Touch("s3:PutObject", f"{BUCKET}/all/x", whose=LOCKED)
    return Grant(statements, (written, Touch("sqs:ReceiveMessage", QUEUE, whose=LOCKED)), **said)


def colons(*statements: Statement, action: str, own: str) -> Grant:
    """Return a grant in a fleet whose device ids may have colons. Each device owns the resource `own`."""
    return Grant(statements, (Touch(action, own),), colons=True)


GROUP = ARN % "logs" + "log-group:{deviceId}"
_OWN_OBJECT = {"action": "s3:GetObject", "own": f"{BUCKET}/{{deviceId}}/x"}
KEYS = {"dynamodb:LeadingKeys": "{deviceId}"}
THERE = {"Null": {"dynamodb:LeadingKeys": "false"}}
LOOSE = {
    "wildcard behind": objects(f"{BUCKET}/{{deviceId}}*"),
    "one character behind": objects(f"{BUCKET}/{{deviceId}}?/*"),
    "text behind": objects(f"{BUCKET}/{{deviceId}}-x/*"),
    "text before": objects(f"{BUCKET}/x{{deviceId}}/*"),
    "wildcard before": objects(f"{BUCKET}/*{{deviceId}}/*"),
    "wildcard in the path before": objects(f"{BUCKET}/*/{{deviceId}}/*"),
    "every resource": objects("*"),
    "every ARN": objects("arn:*"),
    "every object": objects("arn:{partition}:s3:::*"),
    "every object in a list": objects(f"{BUCKET}/{{deviceId}}/*", "arn:aws:s3:::*/*"),
    "a name in another's path": Grant(
        (
            allow("s3:GetObject", f"{BUCKET}/{{deviceId}}/*"),
            allow("s3:GetObject", f"{BUCKET}/fleet/{{deviceId}}/x"),
        ),
        (Touch("s3:GetObject", f"{BUCKET}/fleet/{{deviceId}}/x"),),
    ),
    "a key that need not be there": items({"ForAllValues:StringEquals": KEYS}),
    "a key compared if it is there": items({"StringEqualsIfExists": KEYS}),
    "one key of many": items({"ForAnyValue:StringEquals": KEYS}),
    "any other key": items({"ForAllValues:StringNotEquals": KEYS} | THERE),
    "a key as a number": items({"ForAllValues:NumericEquals": KEYS} | THERE),
    "a key without regard to case": items({"ForAllValues:StringEqualsIgnoreCase": KEYS} | THERE),
    "a key with anything behind": items({"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "{deviceId}*"}}),
    "a prefix with no end": listing("{deviceId}"),
    "any client id": messages("iot:Connect", CLIENT, "*", "{deviceId}"),
    "client ids that begin alike": messages("iot:Connect", CLIENT, "{deviceId}*", "{deviceId}"),
    "topics that begin alike": messages("iot:Publish", TOPIC, "{deviceId}*"),
    "any topic": messages("iot:Receive", TOPIC, "*/{deviceId}/x", "{deviceId}/{asker}/x"),
    "our topics": messages("iot:Receive", TOPIC, "*"),
    "our topics by a filter": messages("iot:Subscribe", FILTER, "firstboot/+/credentials/accepted"),
    "filters that begin alike": messages("iot:Subscribe", FILTER, "{deviceId}*"),
    "a shared text that an id meets": beside(f"{BUCKET}/fleet/*"),
    "a shared text in another spelling": beside("arn:aws:s3:::b/fleet/x"),
    "a shared text with another word reserved": beside(f"{BUCKET}/fleet/*", reserved=("data",)),
    "a shared wildcard over ids": beside(f"{BUCKET}/fl*", reserved=("fl", "fleet")),
    "a writer without an id": common(allow("s3:PutObject", f"{BUCKET}/all/*")),
    "a writer with a second place": common(
        allow("s3:PutObject", [f"{BUCKET}/{{deviceId}}/*", f"{BUCKET}/all/*"]), reserved=("all",)
    ),
    "a reader that takes the others' messages": common(allow("sqs:ReceiveMessage", QUEUE)),
    "a scan beside keys": Grant(
        (
            allow("dynamodb:BatchGetItem", TABLE, {"ForAllValues:StringEquals": KEYS} | THERE),
            allow("dynamodb:Scan", TABLE),
        ),
        (Touch("dynamodb:Scan", TABLE, whose=OTHERS),),
    ),
    "a colon before the id": colons(
        allow("s3:GetObject", f"{BUCKET}/{{deviceId}}/*"),
        allow("s3:GetObject", f"{BUCKET}/DEVICE:{{deviceId}}/*"),
        **_OWN_OBJECT,
    ),
    "a colon behind the id": colons(
        allow("logs:PutLogEvents", f"{GROUP}:*"),
        action="logs:PutLogEvents",
        own=f"{GROUP}:log-stream:s",
    ),
    "a shared text with a colon": replace(
        colons(
            allow("s3:PutObject", f"{BUCKET}/{{deviceId}}/*"),
            allow("s3:GetObject", f"{BUCKET}/fleet:data/*"),
            action="s3:PutObject",
            own=f"{BUCKET}/{{deviceId}}/x",
        ),
        touches=(Touch("s3:PutObject", f"{BUCKET}/fleet:data/x", whose=LOCKED),),
    ),
    "a shared wildcard behind a colon": replace(
        colons(
            allow("s3:PutObject", f"{BUCKET}/{{deviceId}}/*"),
            allow("s3:GetObject", f"{BUCKET}/DEVICE:*"),
            action="s3:PutObject",
            own=f"{BUCKET}/{{deviceId}}/x",
        ),
        touches=(Touch("s3:GetObject", f"{BUCKET}/{{deviceId}}/x", whose=OTHERS),),
    ),
    "a shared text of one character": beside(f"{BUCKET}/x/*", reserved=("fleet",), place="x"),
    "all things' shadows": messages("iot:Publish", TOPIC, "$aws/things/*", "$aws/things/{deviceId}/shadow/x"),
    "an action of a service that is not open": Grant(
        (allow("athena:GetQueryResults", WORKGROUP),),
        (Touch("athena:GetQueryResults", WORKGROUP, whose=LOCKED),),
    ),
    "an action on rights in an opened service": Grant(
        (allow("athena:TagResource", WORKGROUP),),
        (Touch("athena:TagResource", WORKGROUP, whose=LOCKED),),
        services=("athena",),
    ),
    "an action on rights in small letters": Grant(
        (allow("athena:tagresource", WORKGROUP),),
        (Touch("athena:TagResource", WORKGROUP, whose=LOCKED),),
        services=("athena",),
    ),
}


def cases(grants: dict[str, Grant], devices: tuple[DeviceId, ...] | None = None) -> list[Pair]:
    """Return all pairs for devices that hold every grant."""
    if devices is None:
        devices = WITH_COLONS if whole(grants).colon_ids else DEVICES
    return pairs(grants, dict.fromkeys(devices, tuple(grants)), PLACE)


def caught(found: list[Pair], evaluator: Evaluator) -> list[Pair]:
    """Return the pairs in which a device is allowed to use another's resource."""
    return [pair for pair in wrong(found, [evaluator]) if not pair.expected]


TIGHT = {
    "objects": objects(f"{BUCKET}/{{deviceId}}/*"),
    "items": items({"ForAllValues:StringEquals": KEYS} | THERE),
    "listing": listing("{deviceId}/"),
    "client": messages("iot:Connect", CLIENT, "{deviceId}", "{deviceId}"),
    "topics": messages("iot:Publish", TOPIC, "{deviceId}/*"),
    "filters": messages("iot:Subscribe", FILTER, "{deviceId}/*"),
    "a reserved word": replace(beside(f"{BUCKET}/stable/*", reserved=("stable", "fleet")), touches=()),
    "a reserved word in another's path": Grant(
        (
            allow("s3:GetObject", f"{BUCKET}/{{deviceId}}/*"),
            allow("s3:GetObject", f"{BUCKET}/stable/{{deviceId}}/x"),
        ),
        (
            Touch("s3:GetObject", f"{BUCKET}/{{deviceId}}/x"),
            Touch("s3:GetObject", f"{BUCKET}/stable/{{deviceId}}/x"),
        ),
        reserved=("stable",),
    ),
    "a shared writer": replace(common(allow("s3:PutObject", f"{BUCKET}/all/*"), shared=True), touches=()),
    "an opened service": Grant(
        (allow("athena:GetQueryResults", WORKGROUP),),
        (Touch("athena:GetQueryResults", WORKGROUP),),
        services=("athena",),
    ),
    "ids with colons": colons(allow("s3:GetObject", f"{BUCKET}/{{deviceId}}/*"), **_OWN_OBJECT),
    "a name that may have colons": colons(
        allow("sqs:SendMessage", ARN % "sqs" + "{deviceId}"),
        action="sqs:SendMessage",
        own=ARN % "sqs" + "{deviceId}",
    ),
    "topics of ids with colons": replace(
        messages("iot:Publish", TOPIC, "DEVICE:x/{deviceId}/*", "DEVICE:x/{deviceId}/x"), colons=True
    ),
    "log groups of ids without colons": Grant(
        (allow("logs:PutLogEvents", f"{GROUP}:*"),), (Touch("logs:PutLogEvents", f"{GROUP}:log-stream:s"),)
    ),
}


@pytest.mark.parametrize("name", TIGHT)
def test_a_strict_grant_is_accepted(evaluators: tuple[Evaluator, ...], name: str) -> None:
    """The strict form of each grant compiles and isolates, so only its loosening makes a test fail."""
    grants = {"g": TIGHT[name]}
    assert templates.check(whole(grants)) == []
    assert wrong(cases(grants), evaluators) == []


@pytest.mark.parametrize("name", LOOSE)
def test_a_loose_grant_is_refused_and_caught(evaluators: tuple[Evaluator, ...], name: str) -> None:
    """The compiler refuses each loose grant, and without it each evaluator finds access to another device."""
    assert templates.check(whole({"g": LOOSE[name]}))
    found = cases({"g": LOOSE[name]})
    assert all(caught(found, evaluator) for evaluator in evaluators)


COLONS_IN_IDS = ("a colon before the id", "a colon behind the id", "a shared text with a colon")


@pytest.mark.parametrize("name", [*COLONS_IN_IDS, "a shared wildcard behind a colon"])
def test_without_colons_in_ids_a_colon_is_a_delimiter(evaluators: tuple[Evaluator, ...], name: str) -> None:
    """A grant that is loose for ids with colons compiles in a fleet without them, and isolates devices."""
    grants = {"g": replace(LOOSE[name], colons=False)}
    assert templates.check(whole(grants)) == []
    assert wrong(cases(grants), evaluators) == []


@pytest.mark.parametrize("name", sorted({"dev?", "dev*", "*", "????"}))
def test_a_name_with_a_wildcard_is_refused_and_caught(evaluators: tuple[Evaluator, ...], name: str) -> None:
    """A name with a wildcard is refused, and each evaluator would find its access to another device."""
    assert accepted(name) is None
    found = cases({"g": TIGHT["objects"], "t": TIGHT["topics"]}, (DeviceId(name), *DEVICES))
    assert all(caught(found, evaluator) for evaluator in evaluators)


def test_a_device_named_like_our_topics_is_refused_and_caught(evaluators: tuple[Evaluator, ...]) -> None:
    """A device called `firstboot` is refused: its topics would include the credentials of all devices."""
    assert accepted("firstboot") is None
    found = cases({"g": TIGHT["filters"]}, (DeviceId("firstboot"), *DEVICES))
    assert all(caught(found, evaluator) for evaluator in evaluators)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_is_refused(name: str) -> None:
    """A name with wildcards, paths, variables or odd characters, or of a bad length, is refused."""
    assert accepted(name) is None


def _wildcard(place: Place, device: str) -> dict[str, str]:
    return _values(place, device) | {"deviceId": f"{device}*"}


_values = render._values


def test_a_renderer_that_loosens_is_caught(
    evaluators: tuple[Evaluator, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If rendering put a wildcard behind the id, the evaluators would find it in each way to rights."""
    monkeypatch.setattr(render, "_values", _wildcard)
    found = cases({"g": TIGHT["topics"]})
    for evaluator in evaluators:
        assert {pair.way for pair in caught(found, evaluator)} == {"session", "certificate", "token"}
