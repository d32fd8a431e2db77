"""Test what a grant's policy template may contain, and each thing that it may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firstboot.compiler import templates
from firstboot.domain.names import DeviceId
from firstboot.policy import render
from tests.unit.fleet_folders import fleet, grant, problems, statement

IOT = "arn:{partition}:iot:{region}:{account}"
KEYS = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["DEVICE#{deviceId}"]}}


def _accepted(*statements: Any) -> bool:
    return "telemetry" in fleet(grants={"telemetry": grant(*statements)}).grants


@pytest.mark.parametrize(
    "resource",
    [
        "arn:{partition}:s3:::b-{account}-{region}/{deviceId}/*",
        "arn:aws:s3:::b/{deviceId}",
        "arn:aws:s3:::b/{deviceId}/{deviceId}/x?",
        "arn:aws:s3:::b/device={deviceId}/*",
        "arn:aws:logs:{region}:{account}:log-group:{deviceId}:*",
        "arn:aws:s3:::shared/*",
        ["arn:aws:s3:::b/{deviceId}/*", "arn:aws:s3:::b/{deviceId}"],
    ],
)
def test_good_resources_compile(resource: Any) -> None:
    """A resource may have an id between delimiters or at its end, with wildcards behind it."""
    assert _accepted(statement(Resource=resource))


@pytest.mark.parametrize(
    "good",
    [
        statement(Sid="Name", Action=["s3:Get*", "s3:PutObject"]),
        statement(Effect="Deny", Action="s3:*"),
        statement(
            Action="cloudwatch:PutMetricData",
            Resource="*",
            Condition={"StringEquals": {"cloudwatch:namespace": "{deviceId}"}},
        ),
        statement(Condition=KEYS | {"Null": {"dynamodb:LeadingKeys": "false"}}),
        statement(Condition=KEYS | {"Null": {"DynamoDB:LeadingKeys": ["false"]}}),
        statement(Condition={"ArnLikeIfExists": {"aws:x": "arn:{deviceId}"}, "Null": {"aws:x": "false"}}),
        statement(Condition={"StringLike": {"s3:prefix": ["{deviceId}/", "shared"]}}),
        statement(Effect="Deny", Condition={"StringNotEquals": {"s3:prefix": "{deviceId}"}}),
        statement(Effect="Deny", Condition=KEYS),
        statement(Effect="Deny", Resource="arn:*"),
        statement(Action="iot:Connect", Resource=f"{IOT}:client/{{deviceId}}"),
        statement(
            Action=["iot:Publish", "iot:Subscribe"],
            Resource=[f"{IOT}:topic/{{deviceId}}/*", f"{IOT}:topicfilter/{{deviceId}}/*"],
        ),
        statement(Action="iot:Receive", Resource=f"{IOT}:topic/announcements"),
        statement(
            Action="iot:Receive",
            Resource=[f"{IOT}:topic/{each}" for each in ("fleet/*", "{region}/*", "firstboot/{deviceId}/*")],
        ),
        statement(Effect="Deny", Action="iot:Receive", Resource=f"{IOT}:topic/*"),
        statement(Effect="Deny", Action="iot:Connect", Resource=f"{IOT}:client/boot-*"),
    ],
)
def test_good_statements_compile(good: Any) -> None:
    """Every kind of statement that a fleet needs compiles."""
    assert _accepted(good)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (statement(NotAction="s3:PutObject", Action=None), "NotAction is not supported"),
        (statement(NotAction="s3:PutObject", Action=None), "Action is missing"),
        (statement(NotResource="x"), "NotResource is not supported"),
        (statement(Principal="*"), "Principal is not supported"),
        (statement(Resource=None), "Resource is missing"),
        (statement(Effect=None), "Effect is missing"),
        (statement(Effect="allow"), "Effect must be Allow or Deny"),
        (statement(Effect=["Allow"]), "Effect must be"),
        (statement(Sid=1), "Sid must be"),
        (statement(Action=[]), "Action must be a string or a list"),
        (statement(Action=""), "Action must be"),
        (statement(Action=["s3:PutObject", 1]), "Action must be"),
        (statement(Resource={}), "Resource must be"),
        (statement(Condition={}), "Condition must be"),
        (statement(Condition={"Bool": {}}), "Condition must be"),
        (statement(Condition={"Bool": {"aws:SecureTransport": True}}), "Condition must be"),
        (statement(Condition=[]), "Condition must be"),
        (statement(Condition=["x"]), "Condition must be"),
        (statement(Condition={"Bool": ["aws:SecureTransport"]}), "Condition must be"),
        (statement(Condition={"StringEqualsIgnoreCase": {"s3:prefix": "x"}}), "Condition must be"),
        (statement(Condition={"StringEqual": {"s3:prefix": "x"}}), "Condition must be"),
        (statement(Condition={"StringEquals": {"prefix": "x"}}), "Condition must be"),
        (statement(Action="*"), "must be service:Name"),
        (statement(Effect="Deny", Action="*"), "must be service:Name"),
        (statement(Action="S3:PutObject"), "must be service:Name"),
        (statement(Action="s*:PutObject"), "must be service:Name"),
        (statement(Action="s3:{region}"), "must be service:Name"),
        (statement(Action="s3:*"), "allows a whole service"),
        (statement(Action="s3:**"), "allows a whole service"),
        (statement(Action=["s3:PutObject", "s3:*?"]), "allows a whole service"),
        *(
            (statement(Resource=resource), f'Resource "{resource}" needs a Condition')
            for resource in ("*", "arn:*", "arn:aws:*", "arn:aws:s3:::*", "arn:aws:*:::x", "arn:aws:s3:::*/*")
        ),
        (statement(Resource="bucket/x"), "is not an ARN"),
        ("text", "must be an object"),
    ],
)
def test_bad_statements_are_problems(bad: Any, problem: str) -> None:
    """A statement that is not narrow and of known form is a problem that names its number."""
    found = problems(grants={"telemetry": grant(statement(), bad)})
    assert any(
        line.startswith("grants/telemetry.json: statement 2: ") and problem in line for line in found
    ), found


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (statement(Action="iot:Connect", Resource=f"{IOT}:client/*"), "connect as another"),
        (statement(Action="iot:Connect", Resource=f"{IOT}:client/{{deviceId}}/x"), "connect as another"),
        (
            statement(Action="iot:Connect", Resource=f"{IOT}:topic/{{deviceId}}"),
            "must be an AWS IoT ARN ending in client/",
        ),
        (statement(Action="iot:Publish", Resource=f"{IOT}:topicfilter/{{deviceId}}"), "ending in topic/"),
        (statement(Action="iot:Subscribe", Resource=f"{IOT}:topic/{{deviceId}}"), "ending in topicfilter/"),
        (statement(Action="iot:Publish", Resource="*"), "must be an AWS IoT ARN"),
        (statement(Action="iot:Publish", Resource="arn:aws:iot:*"), "must be an AWS IoT ARN"),
        (statement(Action="iot:*", Resource=f"{IOT}:topic/x"), "allows a whole service"),
        (statement(Action="iot:Pub*", Resource=f"{IOT}:topic/x"), "is not one of iot:Connect"),
        (statement(Action="iot:connect", Resource=f"{IOT}:client/{{deviceId}}"), "is not one of iot:Connect"),
        (statement(Action="iot:AttachPolicy", Resource=f"{IOT}:topic/x"), "is not one of iot:Connect"),
        (statement(Effect="Deny", Action="iot:*", Resource=f"{IOT}:topic/x"), "is not one of iot:Connect"),
        (
            statement(Action=["iot:Publish", "s3:PutObject"], Resource=f"{IOT}:topic/x"),
            "separate statements",
        ),
        (
            statement(Action="iot:Subscribe", Resource=f"{IOT}:topicfilter/+/{{deviceId}}"),
            "a wildcard before",
        ),
        (
            statement(Action="iot:Subscribe", Resource=f"{IOT}:topicfilter/#/{{deviceId}}"),
            "a wildcard before",
        ),
        *(
            (statement(Action="iot:Receive", Resource=f"{IOT}:topic/{topic}"), "includes firstboot/…")
            for topic in ("*", "?*", "f*/accepted", "firstboot/*", "firstboot/dev-1/credentials/accepted")
        ),
        *(
            (statement(Action="iot:Subscribe", Resource=f"{IOT}:topicfilter/{topic}"), "includes firstboot/…")
            for topic in ("*", "#", "+/+/credentials/accepted", "firstboot/+/credentials/accepted")
        ),
    ],
)
def test_bad_iot_statements_are_problems(bad: Any, problem: str) -> None:
    """A statement about AWS IoT may have only the data plane's five actions, each on its own kind of
    resource.

    No device can connect as another one.
    """
    found = problems(grants={"telemetry": grant(bad)})
    assert any(problem in line for line in found), found


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        (KEYS, 'allows requests without dynamodb:LeadingKeys: add "Null"'),
        (KEYS | {"Null": {"dynamodb:LeadingKeys": "true"}}, "allows requests without dynamodb:LeadingKeys"),
        (KEYS | {"Null": {"dynamodb:LeadingKeys": ["false", "true"]}}, "allows requests without"),
        (KEYS | {"Null": {"dynamodb:Attributes": "false"}}, "allows requests without dynamodb:LeadingKeys"),
        ({"StringEqualsIfExists": {"aws:x": "{deviceId}"}}, "allows requests without aws:x"),
        *(
            (
                {operator: {"aws:x": ["y", "{deviceId}"]}},
                f"{operator} of aws:x with {{deviceId}} allows what belongs to other",
            )
            for operator in (
                "StringNotEquals",
                "StringNotLikeIfExists",
                "ArnNotLike",
                "ForAllValues:StringNotEquals",
                "ForAnyValue:StringEquals",
                "NumericEquals",
                "DateLessThan",
                "Bool",
                "BinaryEquals",
                "Null",
            )
        ),
        ({"StringEquals": {"S3:Prefix": ["x", "{deviceId}"]}}, "s3:prefix must not end in {deviceId}"),
    ],
)
def test_a_comparison_that_lets_other_devices_in_is_a_problem(condition: Any, problem: str) -> None:
    """An Allow may compare a device id only with a whole, existing text; a Deny may compare it in any way."""
    found = problems(grants={"telemetry": grant(statement(Condition=condition))})
    assert len(found) == 1
    assert problem in found[0]


def _beside(one: str, other: str) -> list[str]:
    grants = {"one": grant(statement(Resource=f"arn:aws:s3:::{one}"))}
    grants |= {"other": grant(statement(Resource=f"arn:aws:s3:::{other}"))}
    return templates.check(replace(fleet(), grants=grants))


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("b/{deviceId}/*", "b/fleet/{deviceId}/x", "fleet"),
        ("b/{deviceId}/*", "b/fleet/a/{deviceId}", "fleet"),
        ("b/{deviceId}/state/*", "b/fleet/{deviceId}/x", "fleet"),
        ("b/{deviceId}/ab", "b/fleet/{deviceId}", "fleet"),
        ("b/{deviceId}=?", "b/fleet={deviceId}/x", "fleet"),
        ("b/{deviceId}/{deviceId}/*", "b/fleet/fleet/x/{deviceId}", "fleet"),
        ("b/{deviceId}/*", "b/{region}/{deviceId}", "{region}"),
    ],
)
def test_a_device_name_that_matches_another_path_is_a_problem(one: str, other: str, name: str) -> None:
    """A fleet is refused if a device's name could match part of another grant's path, in either order."""
    for found in (_beside(one, other), _beside(other, one)):
        assert len(found) == 1
        assert f"gives a device with the id {name!r} what" in found[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("b/{deviceId}/*", "b/{deviceId}/x"),
        ("b/{deviceId}/*", "b/f/{deviceId}/x"),
        ("b/{deviceId}/*", "b/boot-x/{deviceId}"),
        ("b/{deviceId}/*", "b/$aws/{deviceId}"),
        ("b/{deviceId}/*", "b/fleet=/{deviceId}"),
        ("b/{deviceId}/*", "b/-fleet/{deviceId}"),
        ("b/{deviceId}", "b/fleet/{deviceId}"),
        ("b/{deviceId}/ab/c", "b/fleet/{deviceId}/d"),
        ("b/{deviceId}/a/*", "b/fleet/b/{deviceId}"),
        ("one/{deviceId}/*", "other/{deviceId}/*"),
    ],
)
def test_grants_that_cannot_overlap_compile(one: str, other: str) -> None:
    """Two grants compile if no device's name gives it by one grant what the other gives to other devices."""
    assert _beside(one, other) == []


def test_overlapping_conditions_are_a_problem() -> None:
    """Conditions overlap only with the same key, and a Deny never overlaps because it gives nothing."""

    def listing(prefix: str, key: str = "s3:prefix", **changes: Any) -> dict[str, Any]:
        condition = {"StringLike": {key: prefix}}
        return statement(Resource="arn:aws:s3:::b", Condition=condition, **changes)

    def found(*statements: Any) -> list[str]:
        return templates.check(replace(fleet(), grants={"g": grant(*statements)}))

    assert "the id 'fleet'" in found(listing("{deviceId}/*"), listing("fleet/{deviceId}/*", "S3:prefix"))[0]
    assert found(listing("{deviceId}/*"), listing("fleet/{deviceId}/*", "s3:other")) == []
    assert found(listing("{deviceId}/*"), listing("fleet/{deviceId}/*", Effect="Deny")) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{deviceId}*", "a whole segment"),
        ("{deviceId}?", "a whole segment"),
        ("{deviceId}-x", "a whole segment"),
        ("{deviceId}.x", "a whole segment"),
        ("{deviceId}_", "a whole segment"),
        ("x{deviceId}", "a whole segment"),
        ("x-{deviceId}/y", "a whole segment"),
        ("{deviceId}{deviceId}", "a whole segment"),
        ("{region}{deviceId}", "a whole segment"),
        ("x/{deviceId}/{deviceId}y", "a whole segment"),
        ("*/{deviceId}/x", "a wildcard before"),
        ("?/{deviceId}", "a wildcard before"),
        ("{group}", "{group} is not one of account, deviceId, partition, region"),
        ("{deviceid}", "{deviceid} is not one of"),
        ("${aws:username}", "policy variables"),
        ("${deviceId}", "policy variables"),
        ("${region}", "policy variables"),
        ("{aws:username}", "a brace belongs to no variable"),
        ("{{deviceId}}", "a brace belongs to no variable"),
        ("{", "a brace belongs to no variable"),
        ("x}", "a brace belongs to no variable"),
        ("{}", "a brace belongs to no variable"),
    ],
)
def test_bad_variables_are_problems(text: str, problem: str) -> None:
    """A variable must be a known one and fill a whole segment, in resources and in conditions."""
    arn = f"arn:aws:s3:::b/{text}"
    for bad in (
        statement(Resource=arn),
        statement(Resource=["arn:aws:s3:::b/x", arn]),
        statement(Condition={"StringLike": {"s3:prefix": text}}),
        statement(Condition={"Null": {"s3:delimiter": "true"}, "StringLike": {"s3:prefix": ["x", text]}}),
    ):
        found = problems(grants={"telemetry": grant(bad)})
        assert any(problem in line for line in found), found


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([], 'must be {"Version"'),
        ({"Statement": [statement()]}, 'must be {"Version"'),
        (grant() | {"Id": "x"}, 'must be {"Version"'),
        (grant() | {"Version": "2008-10-17"}, "Version must be"),
        (grant() | {"Statement": []}, "Statement must be a list"),
        (grant() | {"Statement": statement()}, "Statement must be a list"),
    ],
)
def test_bad_documents_are_problems(document: Any, problem: str) -> None:
    """A template must be a whole policy document of the current version."""
    assert problem in problems(grants={"telemetry": document})[0]


def _of_size(characters: int) -> dict[str, Any]:
    """Return a grant whose session policy has this number of characters for the longest id."""
    start = "arn:aws:iot:eu-west-1:0:topic/{deviceId}/"
    fixed = (
        len(render.compact(grant(statement(Action="iot:Publish", Resource=start)))) - len("{deviceId}") + 64
    )
    return grant(statement(Action="iot:Publish", Resource=start + "x" * (characters - fixed)))


def test_a_grant_must_fit_a_session_policy() -> None:
    """A grant is refused if its session policy has more than 2,048 characters for the longest possible id."""
    fitting = fleet(grants={"telemetry": _of_size(2_048)})
    place = render.Place("aws", "eu-west-1", "0")
    assert len(render.session_policy(fitting, ["telemetry"], DeviceId("d" * 64), place)) == 2_048
    assert len(render.iot_policy(fitting, "telemetry", place) or "") < 2_048
    found = problems(grants={"telemetry": _of_size(2_049)})
    assert found == [
        "grants/telemetry.json: renders to 2049 characters; a session or AWS IoT policy may have 2048"
    ]


def test_the_widest_place_counts() -> None:
    """A grant's size is counted for the region with the longest name, as it may be deployed in any."""
    resource = "arn:aws:s3:::" + "x" * 1_820 + "{partition}{region}{account}" * 4
    found = problems(grants={"telemetry": grant(statement(Resource=resource))})
    narrow = render.Place("aws", "eu-west-1", "0" * 12)
    here = replace(fleet(), grants={"telemetry": grant(statement(Resource=resource))})
    assert "a session or AWS IoT policy may have 2048" in found[0]
    assert len(render.session_policy(here, ["telemetry"], DeviceId("d" * 64), narrow)) < 2_048


def test_all_grants_must_fit_a_role() -> None:
    """All grants together must fit the 10,240 characters of a role's policies."""

    def grants(last: int) -> dict[str, Any]:
        return {f"g{n}": _of_size(2_000 + n) for n in range(5)} | {"telemetry": _of_size(last)}

    place = render.Place("aws", "eu-west-1", "0")
    size = len(render.compact(render.ceiling(fleet(grants=grants(300)), place)))
    fleet(grants=grants(300 + 10_240 - size))
    found = problems(grants=grants(300 + 10_241 - size))
    assert found == ["grants/: render to 10241 characters together; a role's policies may have 10240"]
