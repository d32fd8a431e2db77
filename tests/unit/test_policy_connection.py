"""A device has the same rights at AWS IoT by certificate, by session and by token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from firstboot.compiler import templates
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import ANY_FLEET, DeviceId
from firstboot.policy import limits, render
from firstboot.policy.errors import NoGrant, PoliciesTooLarge
from firstboot.policy.rules import RequestContext, Rules
from tests.unit.fleet_folders import device, fleet, grant, statement

PLACE = render.Place("aws", "eu-central-1", "123456789012")
DEVICE = DeviceId("dev-1")
PREFIX = "arn:{partition}:iot:{region}:{account}"
KINDS = {
    "iot:Publish": "topic",
    "iot:Receive": "topic",
    "iot:RetainPublish": "topic",
    "iot:Subscribe": "topicfilter",
}


def connecting(text: str = "client/{deviceId}", **changes: Any) -> dict[str, Any]:
    """Return a statement about AWS IoT, by default one that allows a connection."""
    return statement(**{"Action": "iot:Connect", "Resource": f"{PREFIX}:{text}"} | changes)


def publishing(topic: str) -> dict[str, Any]:
    """Return a statement that allows one topic."""
    return connecting(f"topic/{topic}", Action="iot:Publish")


def bare(**grants: Any) -> Fleet:
    """Return a fleet with these grants; rendering needs no other part of one."""
    return Fleet({}, {}, grants, "", "")


def statements(documents: list[dict[str, Any]]) -> set[str]:
    """Return all statements of the documents."""
    assert all(document["Version"] == "2012-10-17" for document in documents)
    return {json.dumps(each, sort_keys=True) for document in documents for each in document["Statement"]}


def by_certificate(compiled: Fleet, grants: tuple[str, ...], device_id: DeviceId) -> set[str]:
    """Return the statements of the grants' IoT policies, with the thing's name filled in as AWS IoT does."""
    texts = [text for name in grants if (text := render.iot_policy(compiled, name, PLACE))]
    documents = [json.loads(text.replace(render.THING_NAME, device_id)) for text in texts]
    for each in (each for document in documents for each in document["Statement"]):
        if each["Effect"] == "Allow" and "iot:Connect" in each["Action"]:
            # Only a certificate has a thing.
            del each["Condition"]["Bool"]["iot:Connection.Thing.IsAttached"]
            each["Condition"] = {operator: keys for operator, keys in each["Condition"].items() if keys}
            if not each["Condition"]:
                del each["Condition"]
    return statements(documents)


def by_session(compiled: Fleet, grants: tuple[str, ...], device_id: DeviceId) -> set[str]:
    """Return the statements of a session policy that are about AWS IoT."""
    try:
        document = json.loads(render.session_policy(compiled, grants, device_id, PLACE))
    except NoGrant:
        return set()
    said = [each for each in document["Statement"] if "iot:" in json.dumps(each["Action"])]
    return statements([document | {"Statement": said}])


def by_token(compiled: Fleet, grants: tuple[str, ...], device_id: DeviceId) -> set[str]:
    """Return the statements of the authorizer's answer to a token."""
    try:
        return statements(render.connection_policies(compiled, grants, device_id, PLACE))
    except NoGrant:
        return set()


SEGMENTS = st.sampled_from(["{deviceId}", "shared", "a", "state", "{region}"])
TOPICS = st.tuples(
    st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join), st.sampled_from(["", "/*", "/#"])
).map("".join)


@st.composite
def iot_statements(draw: Any) -> dict[str, Any]:
    """Draw a statement about AWS IoT that the compiler accepts."""
    effect = draw(st.sampled_from(["Allow", "Allow", "Deny"]))
    if draw(st.booleans()):
        return connecting(Effect=effect)
    kind = draw(st.sampled_from(sorted(set(KINDS.values()))))
    actions = [action for action, about in KINDS.items() if about == kind]
    chosen = draw(st.lists(st.sampled_from(actions), min_size=1, max_size=3, unique=True))
    resources = [f"{PREFIX}:{kind}/{topic}" for topic in draw(st.lists(TOPICS, min_size=1, max_size=3))]
    condition = draw(st.sampled_from([None, {"StringEquals": {"iot:x": "{deviceId}"}}]))
    return statement(
        Effect=effect,
        Action=chosen[0] if len(chosen) == 1 else chosen,
        Resource=resources[0] if len(resources) == 1 else resources,
        Condition=condition,
    )


GRANTS = st.dictionaries(
    st.sampled_from(["telemetry", "mqtt", "alpha", "beta", "gamma"]),
    st.lists(iot_statements() | st.just(statement()), min_size=1, max_size=3).map(lambda each: grant(*each)),
    min_size=1,
)
DEVICE_IDS = st.from_regex(ANY_FLEET.pattern, fullmatch=True)


def rules(granted: set[str], forbidden: set[str]) -> str:
    """Return rules that permit each granted grant and forbid each forbidden one."""
    texts = [
        f'@id("{effect}-{name}") {effect} (principal, action, resource == Grant::"{name}");'
        for effect, names in (("permit", granted), ("forbid", forbidden))
        for name in sorted(names)
    ]
    return "\n".join(texts)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    GRANTS, st.data(), DEVICE_IDS.filter(lambda text: not text.startswith("boot-") and text != "firstboot")
)
def test_three_ways_to_the_same_rights(grants: dict[str, Any], data: st.DataObject, name: str) -> None:
    """For any fleet and rules, a device has exactly the same rights by certificate, by session and by token.

    The answer to a token is within AWS's limits.
    """
    assume(not templates.check(bare(**grants)))
    names = st.sets(st.sampled_from(sorted(grants)))
    text = rules(data.draw(names), data.draw(names))
    compiled = fleet(grants=grants, rules=text)
    held = Rules(compiled).decide(device(device_id=name), RequestContext()).grants
    device_id = DeviceId(name)
    ways = [way(compiled, held, device_id) for way in (by_certificate, by_session, by_token)]
    assert ways[0] == ways[1] == ways[2]
    assert not any(render.DEVICE in said or "${" in said for said in ways[2])


def test_only_held_grants_about_aws_iot_are_in_the_answer() -> None:
    """The answer to a token has only statements about AWS IoT of held grants, with literal ids."""
    compiled = bare(mqtt=grant(connecting(), statement()), other=grant(publishing("x")), s3=grant())
    (document,) = render.connection_policies(compiled, ["mqtt", "s3"], DEVICE, PLACE)
    (only,) = document["Statement"]
    assert only["Resource"] == "arn:aws:iot:eu-central-1:123456789012:client/dev-1"


@pytest.mark.parametrize("grants", [[], ["s3"]])
def test_without_a_grant_about_aws_iot_there_is_no_answer(grants: list[str]) -> None:
    """A device without a grant about AWS IoT gets no answer to its token, and so no connection."""
    with pytest.raises(NoGrant):
        render.connection_policies(bare(s3=grant()), grants, DEVICE, PLACE)


def _sized(characters: int, number: int) -> dict[str, Any]:
    """Return a statement that renders to this number of characters."""
    short = publishing(f"{number:04}")
    rendered = render.connection_policies(bare(g=grant(short)), ["g"], DEVICE, PLACE)[0]["Statement"][0]
    padding = characters - len(render.compact(rendered))
    return publishing(f"{number:04}{'x' * padding}")


EMPTY = len('{"Version":"2012-10-17","Statement":[]}')


@pytest.mark.parametrize(("count", "documents"), [(1, 1), (2, 1), (3, 2), (19, 10), (20, 10)])
def test_statements_are_packed(count: int, documents: int) -> None:
    """Statements are packed until a document is full to its last character."""
    half = (limits.IOT_POLICY - EMPTY - 1) // 2
    compiled = bare(g=grant(*(_sized(half, number) for number in range(count))))
    packed = render.connection_policies(compiled, ["g"], DEVICE, PLACE)
    assert len(packed) == documents
    assert max(len(render.compact(document)) for document in packed) <= limits.IOT_POLICY
    assert sum(len(document["Statement"]) for document in packed) == count


def test_a_short_statement_fills_a_gap() -> None:
    """A short statement is packed into any document that has room for it."""
    sizes = [400, 1500, 400, 1500]
    compiled = bare(g=grant(*(_sized(size, number) for number, size in enumerate(sizes))))
    packed = render.connection_policies(compiled, ["g"], DEVICE, PLACE)
    assert [len(document["Statement"]) for document in packed] == [2, 2]


def test_a_document_is_not_overfilled() -> None:
    """A statement that would exceed a document's limit by one character goes into the next document."""
    half = (limits.IOT_POLICY - EMPTY - 1) // 2
    compiled = bare(g=grant(_sized(half, 0), _sized(half + 2, 1)))
    assert len(render.connection_policies(compiled, ["g"], DEVICE, PLACE)) == 2


def test_more_than_ten_documents_are_refused() -> None:
    """More than ten documents are refused and none is left out, because it could have a Deny."""
    half = (limits.IOT_POLICY - EMPTY - 1) // 2
    for size, count in ((half, 21), (limits.IOT_POLICY - EMPTY, 11)):
        compiled = bare(g=grant(*(_sized(size, number) for number in range(count))))
        with pytest.raises(PoliciesTooLarge, match="11 documents"):
            render.connection_policies(compiled, ["g"], DEVICE, PLACE)


def test_a_statement_beyond_a_document_is_refused() -> None:
    """A statement longer than a document is refused and not cut, although the compiler accepts none."""
    compiled = bare(g=grant(_sized(limits.IOT_POLICY - EMPTY + 1, 0)))
    with pytest.raises(PoliciesTooLarge, match="2049 characters"):
        render.connection_policies(compiled, ["g"], DEVICE, PLACE)
