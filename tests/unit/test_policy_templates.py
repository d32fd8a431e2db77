"""Test what a grant's policy template may contain, and each thing that it may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firstboot.compiler import templates
from firstboot.domain.fleet import Fleet, GrantTerms
from firstboot.domain.names import DeviceId
from firstboot.policy import render
from tests.unit.fleet_folders import TOML, fleet, grant, problems, statement

IOT = "arn:{partition}:iot:{region}:{account}"
_PRESENT = {"Null": {"dynamodb:LeadingKeys": "false"}}
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
        statement(Action="s3:GetObject", Resource="arn:aws:s3:::shared/*"),
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
            Action=["iot:Publish", "iot:Receive"],
            Resource=[
                f"{IOT}:topic/$aws/{topic}"
                for topic in (
                    *("things/{deviceId}/shadow/*", "commands/things/{deviceId}/executions/*/response/json"),
                    *("rules/Telemetry/{deviceId}/*", "device_location/{deviceId}/get_position_estimate"),
                )
            ],
        ),
        statement(Action="iot:Receive", Resource=f"{IOT}:topic/$aws/certificates/create/json/accepted"),
        statement(Action="iot:Subscribe", Resource=f"{IOT}:topicfilter/$aws/events/presence/#"),
        statement(Action="iot:Subscribe", Resource=f"{IOT}:topicfilter/$share/group/{{deviceId}}/*"),
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
        (statement(Action="s3:*"), "is not one of"),
        (statement(Action="s3:**"), "a wildcard at its end only"),
        (statement(Action=["s3:PutObject", "s3:*?"]), "a wildcard at its end only"),
        *(
            (statement(Resource=resource), f"Resource {resource!r} has a wildcard where a name begins")
            for resource in ("*", "arn:*", "arn:aws:*", "arn:aws:s3:::*", "arn:aws:*:::x", "arn:aws:s3:::*/*")
        ),
        (
            statement(Action="s3:Get*", Resource="arn:aws:s3:r:1:access-grants/default"),
            "gives credentials for S3",
        ),
        *(
            (
                statement(Resource=resource, Condition={"Bool": {"aws:SecureTransport": "true"}}),
                f"Resource {resource!r} has a wildcard where a name begins",
            )
            for resource in (
                *("*", "arn:aws:dynamodb:r:1:table/*", "arn:aws:dynamodb:r:1:ta*/x", "arn:aws:sqs:r:1:*"),
                *("arn:aws:s3:::*/published.json", "arn:aws:lambda:r:1:function:*", "arn:aws:sns:r:1:?x"),
            )
        ),
        (
            statement(Action="cloudwatch:PutMetricData", Resource="*"),
            'Resource "*" needs a Condition',
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
        (statement(Action="iot:*", Resource=f"{IOT}:topic/x"), "is not one of"),
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
            for topic in (
                *("*", "?*", "f*/accepted", "firstboot/*", "firstboot/dev-1/credentials/accepted"),
                *("firstboot/{region}/*", "firstboot/{account}/credentials/accepted"),
            )
        ),
        *(
            (
                statement(Action=["iot:Receive", action], Resource=f"{IOT}:topic/{topic}"),
                "is not of one thing, command, location or rule",
            )
            for action in ("iot:Publish", "iot:RetainPublish")
            for topic in (
                *("$aws/*", "$aws/things/*", "$aws/things/d*/shadow/update", "$aws/things/{deviceId}"),
                *("$aws/events/presence/connected/dev-1", "$aws/events/certificates/registered/*"),
                *("$aws/certificates/create/json", "$aws/provisioning-templates/t/provision/json"),
                *("$aws/rules/*", "$aws/rules/Firstboot*", "$aws/rules/?/x", "$aws/commands/things/*"),
            )
        ),
        *(
            (
                statement(Action="iot:Subscribe", Resource=f"{IOT}:topicfilter/{topic}"),
                "is not of one thing, command, location or rule",
            )
            for topic in (
                *("$aws/#", "$aws/things/#", "$aws/things/+/shadow/#", "$aws/commands/things/+/x", "$*"),
                *("$share/*", "$share/+/x", "$share/g/$aws/things/+/shadow/#"),
            )
        ),
        *(
            (statement(Action="iot:Subscribe", Resource=f"{IOT}:topicfilter/{topic}"), "includes firstboot/…")
            for topic in (
                *("*", "#", "+/+/credentials/accepted", "firstboot/+/credentials/accepted"),
                *("$share/g/firstboot/+/credentials/accepted", "$share/g/#"),
            )
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


def _beside(one: str, other: str, reserved: tuple[str, ...] = (), *, colons: bool = False) -> list[str]:
    grants = {"one": grant(statement(Resource=f"arn:aws:s3:::{one}"))}
    grants |= {"other": grant(statement(Resource=f"arn:aws:s3:::{other}"))}
    terms = {name: GrantTerms(name, shared=True) for name in grants}
    changes: dict[str, Any] = {"grants": grants, "reserved": reserved, "terms": terms, "colon_ids": colons}
    return templates.check(replace(fleet(), **changes))


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
        ("b/{deviceId}/*", "b/f/{deviceId}/x", "f"),
        ("b/{deviceId}/*", "b/_/{deviceId}/x", "_"),
        ("b/{deviceId}/{deviceId}", "b/fleet/{deviceId}", "fleet"),
    ],
)
def test_a_device_name_that_matches_another_path_is_a_problem(one: str, other: str, name: str) -> None:
    """A device's name that matches part of another grant's path is a problem until the fleet reserves it."""
    for found in (_beside(one, other), _beside(other, one)):
        assert len(found) == 1
        assert f"gives a device with the id {name!r} what" in found[0]
        # No fleet can reserve a region.
        assert ("to `reserved`" in found[0]) == (name != "{region}")
    if name != "{region}":
        assert _beside(one, other, reserved=(name,)) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("b/{deviceId}/*", "b/{deviceId}/x"),
        ("b/{deviceId}/*", "b/.f/{deviceId}/x"),
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


@pytest.mark.parametrize(
    "shared",
    [
        statement(Resource="arn:aws:s3:::b/all/*"),
        statement(Action=["s3:GetObject", "s3:DeleteObject"], Resource=["arn:aws:s3:::b/all/*"]),
        statement(Resource=["arn:aws:s3:::c/{deviceId}/*", "arn:aws:s3:::b/all/*"]),
        statement(Action="lambda:InvokeFunction", Resource="arn:aws:lambda:r:1:function:f"),
        statement(Action="dynamodb:Batch*", Resource="arn:aws:dynamodb:r:1:table/t"),
        statement(Action="iot:Publish", Resource=f"{IOT}:topic/fleet/reports"),
        statement(
            Action="cloudwatch:PutMetricData",
            Resource="*",
            Condition={"StringEquals": {"cloudwatch:namespace": "acme"}},
        ),
        statement(
            Action="dynamodb:PutItem",
            Resource="arn:aws:dynamodb:r:1:table/t",
            Condition={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["{deviceId}", "all"]}}
            | _PRESENT,
        ),
    ],
)
def test_a_grant_that_lets_all_write_the_same_says_so(shared: Any) -> None:
    """A statement that allows writing and names no device is a problem until the grant is `shared`."""
    found = problems(grants={"telemetry": grant(statement(), shared)})
    assert any("statement 2: allows devices to write, and names no device" in line for line in found)
    said = f'reserved = ["all"]\n{TOML}\n[grants.telemetry]\nshared = true\n'
    compiled = fleet(grants={"telemetry": grant(statement(), shared)}, toml=said)
    assert templates.writing_shared(compiled, "telemetry") == [2]
    assert Fleet.from_json(compiled.to_json()) == compiled


@pytest.mark.parametrize(
    "own",
    [
        statement(),
        statement(Effect="Deny", Action="s3:PutObject", Resource="arn:aws:s3:::b/all/*"),
        statement(Action=["s3:GetObject", "s3:ListBucket"], Resource="arn:aws:s3:::b/all/*"),
        statement(Action="dynamodb:BatchGetItem", Resource="arn:aws:dynamodb:r:1:table/t"),
        statement(
            Action="dynamodb:PutItem", Resource="arn:aws:dynamodb:r:1:table/t", Condition=KEYS | _PRESENT
        ),
    ],
)
def test_a_grant_that_writes_under_the_id_or_reads_needs_no_word(own: Any) -> None:
    """A statement that only reads, denies, or names the device in all that it writes is no shared one."""
    assert templates.writing_shared(fleet(grants={"telemetry": grant(own)}), "telemetry") == []


def test_terms_of_a_grant_that_does_not_exist_are_a_problem() -> None:
    """fleet.toml can say something of grants only that have a file."""
    assert problems(toml=f"{TOML}\n[grants.nothing]\nshared = true\n") == [
        "fleet.toml: grants.nothing has no file grants/nothing.json"
    ]


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("b/{deviceId}/*", "b/stable/*", "stable"),
        ("b/{deviceId}/*", "b/stable/firmware.bin", "stable"),
        ("b/{deviceId}", "b/stable", "stable"),
        ("b/{deviceId}/state/*", "b/stable/*", "stable"),
        ("b/{deviceId}/state", "b/stable/stat?", "stable"),
        ("b/{deviceId}/{deviceId}/x", "b/stable/stable/*", "stable"),
        ("b/device={deviceId}/*", "b/device=stable/x", "stable"),
        ("b/{deviceId}/*", "b/s/*", "s"),
        ("b/{deviceId}/*", "b/_stable/*", "_stable"),
        ("b/{deviceId}/*", "b/stable-/*", "stable-"),
    ],
)
def test_a_word_of_a_shared_path_must_be_reserved(one: str, other: str, name: str) -> None:
    """A word in the place of the id is a problem until the fleet reserves it as a name."""
    for found in (_beside(one, other), _beside(other, one)):
        assert len(found) == 1
        assert f"gives a device with the id {name!r} what" in found[0]
        assert f"add {name!r} to `reserved`" in found[0]
    assert _beside(one, other, reserved=(name,)) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("b/{deviceId}/*", "b/*"),
        ("b/{deviceId}/*", "b*"),
        ("b/x/{deviceId}/*", "b/*/stable"),
        ("b/{deviceId}/*", "b/st*"),
        ("b/{deviceId}/*", "b/st?ble/x"),
        ("b/{deviceId}/x", "b/*/x"),
    ],
)
def test_a_shared_wildcard_over_ids_cannot_be_cured(one: str, other: str) -> None:
    """A wildcard in the place of the id has what each device has, with any names reserved."""
    for found in (_beside(one, other, reserved=("st", "stable")), _beside(other, one)):
        assert len(found) == 1
        assert "gives each device a part of what" in found[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("b/{deviceId}/*", "b"),
        ("b/{deviceId}/*", "c/stable/*"),
        ("b/{deviceId}/*", "b/.stable/*"),
        ("b/{deviceId}/*", "b/=*"),
        ("b/{deviceId}/x", "b/stable/y"),
        ("b/{deviceId}/x", "b/*/y"),
        ("b/d/{deviceId}/*", "b/stable/*"),
        ("b/{deviceId}", "b/stable/x"),
    ],
)
def test_shared_paths_that_no_id_reaches_compile(one: str, other: str) -> None:
    """A shared text compiles beside one with the id if no device's id gives it what is shared."""
    assert _beside(one, other) == []


def test_shared_texts_are_compared_where_requests_could_be_the_same() -> None:
    """A shared topic is compared like a path; another service, key or resource is none of its concern."""

    def found(*statements: Any) -> list[str]:
        terms = {"g": GrantTerms("g", shared=True)}
        return templates.check(replace(fleet(), grants={"g": grant(*statements)}, terms=terms))

    def topic(action: str, kind: str, name: str) -> dict[str, Any]:
        return statement(Action=action, Resource=f"{IOT}:{kind}/{name}")

    own = topic("iot:Publish", "topic", "{deviceId}/*")
    assert "'fleet'" in found(own, topic("iot:Receive", "topic", "fleet/commands"))[0]
    filters = topic("iot:Subscribe", "topicfilter", "a/{deviceId}/*")
    assert "a part of" in found(filters, topic("iot:Subscribe", "topicfilter", "a/+/b"))[0]
    items = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["{deviceId}"]}, **_PRESENT}
    shared = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["fleet"]}, **_PRESENT}

    def table(name: str, condition: Any) -> dict[str, Any]:
        resource = f"arn:aws:dynamodb:r:1:table/{name}"
        return statement(Action="dynamodb:GetItem", Resource=resource, Condition=condition)

    assert "'fleet'" in found(table("t", items), table("t", shared))[0]
    assert found(table("t", items), table("u", shared)) == []
    metrics = {"StringEquals": {"cloudwatch:namespace": "acme"}}
    assert found(own, statement(Action="cloudwatch:PutMetricData", Resource="*", Condition=metrics)) == []


def _table(action: str, condition: Any, resource: str = "table/t") -> dict[str, Any]:
    limited = {"Condition": condition} if condition else {}
    return statement(Action=action, Resource=f"arn:aws:dynamodb:r:1:{resource}", **limited)


@pytest.mark.parametrize(
    "shared",
    [
        _table("dynamodb:GetItem", {}),
        _table("dynamodb:Scan", {}),
        _table("dynamodb:Get*", {}) | {"Resource": "arn:{partition}:dynamodb:*:{account}:table/t*"},
        _table("dynamodb:Query", {"Bool": {"aws:SecureTransport": "true"}}),
        _table("dynamodb:Query", {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": "fleet"}}),
        _table("dynamodb:Query", {"StringEqualsIfExists": {"dynamodb:LeadingKeys": "fleet"}}),
        _table("dynamodb:Query", {"StringNotEquals": {"dynamodb:LeadingKeys": "secret"}}),
    ],
)
def test_a_statement_without_the_condition_of_another_is_a_problem(shared: Any) -> None:
    """No statement may give to all, without a condition, an action that another limits to a device by it."""
    own = grant(_table("dynamodb:GetItem", KEYS | _PRESENT))
    found = templates.check(replace(fleet(), grants={"own": own, "shared": grant(shared)}))
    assert len(found) == 1
    assert "without a condition on dynamodb:leadingkeys gives every device what" in found[0]
    assert found[0].startswith("grants/shared.json: ")


@pytest.mark.parametrize(
    "other",
    [
        _table("dynamodb:DescribeTable", {}),
        _table("dynamodb:GetItem", {}, "table/u"),
        _table("dynamodb:GetItem", {}) | {"Resource": "arn:aws:dynamodb:other:1:table/t"},
        _table("dynamodb:GetItem", {"StringEquals": {"dynamodb:LeadingKeys": "model#1"}}),
        _table("dynamodb:GetItem", {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": "m#1"}} | _PRESENT),
        _table("dynamodb:GetItem", {}) | {"Effect": "Deny"},
        _table("dynamodb:GetItem", {}, "table/t/index/{deviceId}"),
    ],
)
def test_statements_about_other_things_need_no_condition(other: Any) -> None:
    """A statement about another table, region or action, or with keys of its own, compiles beside one."""
    own = grant(_table("dynamodb:GetItem", KEYS | _PRESENT))
    assert templates.check(replace(fleet(), grants={"own": own, "other": grant(other)})) == []


@pytest.mark.parametrize(
    ("one", "other", "problem"),
    [
        ("arn:aws:s3:::b/{deviceId}/*", "arn:{partition}:s3:::b/stable/*", "'stable'"),
        ("arn:aws:s3:::b-{account}/{deviceId}/*", "arn:aws:s3:::b-123456789012/stable/*", "'stable'"),
        ("arn:aws:s3:::b-{region}/{deviceId}/*", "arn:aws:s3:::b-us-gov-west-1/stable/*", "'stable'"),
        ("arn:aws:sqs:{region}:{account}:{deviceId}", "arn:aws:sqs:eu-west-1:1:all", "'all'"),
        ("arn:aws:sqs:eu-west-1:1:{deviceId}", "arn:aws-cn:sqs:*:{account}:al*", "a part of"),
        (
            "arn:aws:s3:::b-{account}/{deviceId}/*",
            "arn:aws:s3:::b-123456789012/fleet/{deviceId}/x",
            "'fleet'",
        ),
    ],
)
def test_another_spelling_of_the_same_place_is_a_problem(one: str, other: str, problem: str) -> None:
    """Texts are compared with a variable for its value, in either order."""
    terms = {"g": GrantTerms("g", shared=True)}
    for texts in ([one, other], [other, one]):
        grants = {"g": grant(*(statement(Action="s3:PutObject", Resource=text) for text in texts))}
        found = templates.check(replace(fleet(), grants=grants, terms=terms))
        assert len(found) == 1
        assert problem in found[0]


def test_another_region_or_account_is_another_place() -> None:
    """Texts that name different regions or accounts are not compared."""
    for other in ("arn:aws:sqs:eu-west-2:1:all", "arn:aws:sqs:eu-west-1:2:all"):
        statements = (statement(Resource=each) for each in ("arn:aws:sqs:eu-west-1:1:{deviceId}", other))
        terms = {"g": GrantTerms("g", shared=True)}
        assert templates.check(replace(fleet(), grants={"g": grant(*statements)}, terms=terms)) == []


def test_overlapping_conditions_are_a_problem() -> None:
    """Conditions overlap only with the same key, and a Deny never overlaps because it gives nothing."""

    def listing(prefix: str, key: str = "s3:prefix", **changes: Any) -> dict[str, Any]:
        condition = {"StringLike": {key: prefix}}
        return statement(Action="s3:ListBucket", Resource="arn:aws:s3:::b", Condition=condition, **changes)

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


def test_a_grant_must_fit_an_aws_iot_policy() -> None:
    """A grant is refused if its AWS IoT policy, with its condition, has more than 2,048 characters."""
    connect = statement(
        Action="iot:Connect", Resource="arn:{partition}:iot:{region}:{account}:client/{deviceId}"
    )

    def of(length: int) -> dict[str, Any]:
        topic = "arn:aws:iot:eu-west-1:0:topic/" + "x" * length
        return grant(connect, statement(Action="iot:Receive", Resource=topic))

    def sizes(length: int) -> tuple[int, int]:
        found = fleet(grants={"telemetry": of(length)})
        session = render.session_policy(found, ["telemetry"], templates.LONGEST, templates.WIDEST)
        return len(session), len(render.iot_policy(found, "telemetry", templates.WIDEST) or "")

    fits = 100 + 2_048 - sizes(100)[1]
    assert sizes(fits)[0] < sizes(fits)[1] == 2_048
    assert problems(grants={"telemetry": of(fits + 1)}) == [
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
