"""Test the policies that grants render to, and that no device id matches another device's resources."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from firstboot.compiler import templates
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId, IdRule
from firstboot.policy import render
from firstboot.policy.errors import NoGrant
from tests.unit.fleet_folders import fleet, grant, statement

PLACE = render.Place("aws", "eu-central-1", "123456789012")
DEVICE = DeviceId("dev-1")
PREFIX = "arn:{partition}:iot:{region}:{account}"
MQTT = grant(
    statement(Sid="Connect", Action="iot:Connect", Resource=f"{PREFIX}:client/{{deviceId}}"),
    statement(Effect="Deny", Action=["iot:Publish"], Resource=[f"{PREFIX}:topic/{{deviceId}}/x"]),
)
IDS = st.from_regex(IdRule(colons=False).pattern, fullmatch=True)
COLON_IDS = st.from_regex(IdRule(colons=True).pattern, fullmatch=True)


def _fleet(**grants: Any) -> Fleet:
    return fleet(grants={"telemetry": grant(), **grants})


def _statements(text: str) -> list[dict[str, Any]]:
    document = json.loads(text)
    assert document["Version"] == "2012-10-17"
    statements: list[dict[str, Any]] = document["Statement"]
    return statements


def test_a_session_policy_names_the_device() -> None:
    """A session policy has every variable filled in, literal ids and no white space."""
    text = render.session_policy(_fleet(mqtt=MQTT), ["telemetry", "mqtt"], DEVICE, PLACE)
    assert text == (
        '{"Version":"2012-10-17","Statement":['
        '{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/dev-1/*"},'
        '{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:eu-central-1:123456789012:client/dev-1"},'
        '{"Effect":"Deny","Action":["iot:Publish"],'
        '"Resource":["arn:aws:iot:eu-central-1:123456789012:topic/dev-1/x"]}]}'
    )


def test_only_held_grants_are_in_a_session_policy() -> None:
    """A session policy has no statement of a grant that the device does not hold."""
    text = render.session_policy(_fleet(mqtt=MQTT), ["telemetry"], DEVICE, PLACE)
    assert len(_statements(text)) == 1


def test_equal_statements_come_once() -> None:
    """Statements that are equal but for their Sid are in a session policy once, to save characters."""
    twice = grant(statement(), statement(Sid="Again"))
    text = render.session_policy(_fleet(twin=twice), ["telemetry", "twin"], DEVICE, PLACE)
    assert len(_statements(text)) == 1


def test_without_a_grant_there_is_no_policy() -> None:
    """A session without a grant is refused, because STS takes a missing policy for "unrestricted"."""
    with pytest.raises(NoGrant):
        render.session_policy(_fleet(), [], DEVICE, PLACE)


def test_an_iot_policy_serves_every_device() -> None:
    """An IoT policy has AWS IoT's variable for the thing name, and only statements about AWS IoT."""
    mixed = grant(*MQTT["Statement"], statement())
    thing = "${iot:Connection.Thing.ThingName}"
    text = render.iot_policy(_fleet(mixed=mixed), "mixed", PLACE)
    assert text is not None
    connect, publish = _statements(text)
    assert connect["Resource"] == f"arn:aws:iot:eu-central-1:123456789012:client/{thing}"
    assert publish["Resource"] == [f"arn:aws:iot:eu-central-1:123456789012:topic/{thing}/x"]


ATTACHED = {"iot:Connection.Thing.IsAttached": "true"}


def test_a_certificate_connects_only_as_its_thing() -> None:
    """Each Allow of iot:Connect in an IoT policy demands that the certificate is attached to its thing.

    It keeps its own conditions. Other statements get none.
    """
    client = f"{PREFIX}:client/{{deviceId}}"
    conditions = [
        None,
        {"Bool": {"iot:SourceIpIsKnown": "true"}, "IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
        {"Bool": {"iot:Connection.Thing.IsAttached": "false"}},
    ]
    statements = [statement(Action="iot:Connect", Resource=client, Condition=each) for each in conditions]
    both = statement(
        Action=["iot:Publish", "iot:Connect"], Resource=[client, f"{PREFIX}:topic/{{deviceId}}/x"]
    )
    others = [
        statement(Effect="Deny", Action="iot:Connect", Resource=client),
        statement(Action="iot:Publish", Resource=f"{PREFIX}:topic/{{deviceId}}/x"),
    ]
    found = _fleet(mqtt=grant(*statements, both, *others))
    text = render.iot_policy(found, "mqtt", PLACE)
    assert text is not None
    assert [each.get("Condition") for each in _statements(text)] == [
        {"Bool": ATTACHED},
        {
            "Bool": {"iot:SourceIpIsKnown": "true"} | ATTACHED,
            "IpAddress": {"aws:SourceIp": "10.0.0.0/8"},
        },
        {"Bool": ATTACHED},
        None,
        None,
    ]


def test_a_grant_without_iot_has_no_iot_policy() -> None:
    """A grant without a statement about AWS IoT has no IoT policy, because AWS refuses an empty document."""
    assert render.iot_policy(_fleet(), "telemetry", PLACE) is None


def test_the_ceiling_allows_what_every_session_allows() -> None:
    """The ceiling, which is the fleet role's policy, allows at least what every session policy allows.

    It has no condition on a device id and no Deny; those are in the session policies.
    """
    listing = grant(
        statement(
            Action="s3:ListBucket",
            Resource="arn:{partition}:s3:::b",
            Condition={
                "StringLike": {"s3:prefix": ["{deviceId}/*", "{deviceId}/"]},
                "StringEquals": {"s3:delimiter": "/", "s3:x": "{deviceId}"},
                "Bool": {"aws:SecureTransport": "true"},
            },
        )
    )
    document = render.ceiling(_fleet(mqtt=MQTT, listing=listing), PLACE)
    assert document == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": "arn:aws:s3:::b",
                "Condition": {"StringEquals": {"s3:delimiter": "/"}, "Bool": {"aws:SecureTransport": "true"}},
            },
            {
                "Effect": "Allow",
                "Action": "iot:Connect",
                "Resource": "arn:aws:iot:eu-central-1:123456789012:client/*",
            },
            {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*/*"},
        ],
    }


def test_rendering_leaves_the_fleet_alone() -> None:
    """Rendering does not change the fleet, which is rendered for one device after another."""
    shared = _fleet(mqtt=MQTT)
    before = shared.to_json()
    render.session_policy(shared, ["mqtt"], DEVICE, PLACE)
    render.ceiling(shared, PLACE)
    assert shared.to_json() == before


@given(IDS | COLON_IDS)
def test_an_id_is_rendered_literally(device_id: str) -> None:
    """Any device id is in the policy literally, and the policy is JSON without open variables."""
    text = render.session_policy(_SHARED, ["telemetry"], DeviceId(device_id), PLACE)
    assert _statements(text)[0]["Resource"] == f"arn:aws:s3:::b/{device_id}/*"


_SHARED = _fleet()
# Mostly texts that the compiler accepts, mixed with some that it must refuse.
_PIECES = st.lists(
    st.sampled_from(["/{deviceId}/", "/{deviceId}", "#{deviceId}#", "={deviceId}:"])
    | st.sampled_from(
        ["{deviceId}", "{region}", "/", ":", "#", "=", "*", "?", "-", "a", "dev", ".", "_", "+"]
    ),
    min_size=1,
    max_size=6,
).map("".join)


def _pattern(resource: str, device_id: str) -> str:
    values = {"{deviceId}": device_id, "{region}": PLACE.region}
    for variable, value in values.items():
        resource = resource.replace(variable, value)
    return resource


def _matches(pattern: str, text: str) -> bool:
    """Match as IAM matches a resource: `*` is any text, with `/`, and `?` is any character."""
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, text, re.DOTALL) is not None


def _is_taken(resource: str, *, colons: bool) -> bool:
    document = {"Version": "2012-10-17", "Statement": [statement(Resource=resource)]}
    accepting = replace(_SHARED, colon_ids=colons)
    return "{deviceId}" in resource and not list(templates._document(document, accepting))


@settings(max_examples=400, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    data=st.data(),
    filler=st.text("ab/-:dev*", max_size=6),
    prefixed=st.sampled_from(["", ":", "prefixed"]),
)
@pytest.mark.parametrize("colons", [False, True])
def test_no_id_matches_the_segment_of_another(
    data: st.DataObject, filler: str, prefixed: str, *, colons: bool
) -> None:
    """A resource that the compiler accepts never matches the same text for two device ids."""
    ids = COLON_IDS if colons else IDS
    arns = _PIECES.map(lambda text: f"arn:aws:s3:::{text}")
    resource = data.draw(arns.filter(lambda arn: _is_taken(arn, colons=colons)))
    one, other = data.draw(ids), data.draw(ids)
    if prefixed:
        other = one + (":" if prefixed == ":" and colons else "") + other
    assume(one != other)
    for mine, theirs in ((one, other), (other, one)):
        for inserted in ("", filler, mine, f"/{mine}/", f"{filler}/{mine}/{filler}"):
            owned = _pattern(resource, theirs).replace("*", inserted).replace("?", "/")
            assert not _matches(_pattern(resource, mine), owned)


def test_the_ceiling_has_no_condition_on_the_device_id() -> None:
    """A statement whose only condition is on the device id has no condition in the fleet's role."""
    condition = {"StringEquals": {"s3:prefix": "{deviceId}/"}}
    listing = statement(Action="s3:ListBucket", Resource="arn:{partition}:s3:::b", Condition=condition)
    made = replace(fleet(), grants={"listing": grant(listing)})
    (found,) = render.ceiling(made, PLACE)["Statement"]
    assert found == {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b"}
