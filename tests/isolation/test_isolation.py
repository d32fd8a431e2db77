"""No device has another's rights: evaluators that are not ours decide on the policies that we render."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstboot.domain.device import Attribute
from firstboot.domain.names import DeviceId, IdRule
from firstboot.policy import render
from firstboot.policy.render import Place
from firstboot.policy.rules import RequestContext, Rules
from firstboot.policy.service import ServicePolicy
from tests.isolation.devices import COLONS, HOSTILE_NAMES, PLAIN, neighbours
from tests.isolation.evaluators import Evaluator, Rights
from tests.isolation.fleets import ARN, Grant, Touch, allow, bare, fleets, reserved
from tests.isolation.pairs import ASKING, ATTACHED, CLIENT, Pair, asking_pairs, pairs, thing_of, wrong
from tests.unit.fleet_folders import device, fleet

COUNT = 10_000
PLACE = Place("aws", "eu-central-1", "123456789012")
PLACES = st.sampled_from([PLACE, Place("aws-us-gov", "us-gov-west-1", "210987654321")])

# Every run has the same examples, so that CI cannot miss on one day what it finds on another.
STEADY = settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def check(found: list[Pair], evaluators: tuple[Evaluator, ...]) -> None:
    """Fail with the first pair that an evaluator decides wrongly."""
    bad = wrong(found, evaluators)
    assert not bad, f"{len(bad)} of {len(found)} decisions are wrong; the first: {bad[0]}"


@pytest.mark.parametrize(
    ("rule", "examples", "least"),
    [(PLAIN, 140, COUNT), (COLONS, 120, COUNT // 2)],
    ids=["without colons", "with colons"],
)
def test_no_device_touches_what_is_anothers(
    evaluators: tuple[Evaluator, ...], rule: IdRule, examples: int, least: int
) -> None:
    """By session, certificate and token, each device has its grants' rights on its own resources only.

    The fleets are random. For each service there are requests that must be allowed and requests that must be
    refused. Device ids may have one character and, where the fleet says so, colons.
    """
    counted: Counter[tuple[str, bool]] = Counter()

    @settings(STEADY, max_examples=examples)
    @given(fleets(colons=rule.colons), neighbours(rule), PLACES, st.data())
    def property_(grants: dict[str, Grant], devices: tuple[DeviceId, ...], place: Place, data: Any) -> None:
        names = st.just(set(grants)) | st.sets(st.sampled_from(sorted(grants)))
        there = [device for device in devices if device not in reserved(grants)]
        held = {device: tuple(sorted(data.draw(names))) for device in there}
        found = pairs(grants, held, place)
        check(found, evaluators)
        for pair in found:
            counted[pair.way, pair.expected] += 1
            counted[pair.request.action.partition(":")[0], pair.expected] += 1
            counted["colon", pair.expected] += ":" in pair.device
            counted["one character", pair.expected] += len(pair.device) == 1
        for grant in grants.values():
            counted["shared", True] += grant.shared
            counted["reserved", True] += bool(grant.reserved)

    property_()
    ways = ("session", "certificate", "token")
    assert sum(counted[way, expected] for way in ways for expected in (True, False)) >= least
    services = (
        "s3",
        "dynamodb",
        "cloudwatch",
        "sqs",
        "kinesis",
        "ssm",
        "secretsmanager",
        "execute-api",
        "athena",
    )
    # The name of a log group stands between colons, so no grant of one compiles beside ids with colons.
    kinds = (*ways, "iot", *services, "one character", "colon" if rule.colons else "logs")
    assert all(counted[each, expected] for each in kinds for expected in (True, False)), counted
    assert counted["shared", True]
    assert counted["reserved", True]


@settings(STEADY, max_examples=40)
@given(neighbours(COLONS), PLACES, st.sampled_from(ASKING))
def test_a_certificate_without_rights_asks_for_its_own_alone(
    evaluators: tuple[Evaluator, ...], devices: tuple[DeviceId, ...], place: Place, policy: ServicePolicy
) -> None:
    """A bootstrap or superseded certificate may only ask for a certificate, as its own device or client."""
    check(asking_pairs(policy, devices, place), evaluators)


@pytest.mark.parametrize("policy", [ServicePolicy.DEVICE, ServicePolicy.SUPERSEDED])
def test_a_certificate_without_its_thing_does_not_connect(
    evaluators: tuple[Evaluator, ...], policy: ServicePolicy
) -> None:
    """An operational certificate connects as the thing that it is attached to, and not at all without it.

    The policy of a grant does not let it connect either.
    """
    request = Touch("iot:Connect", f"{ARN % 'iot'}client/{{deviceId}}").request("dev1", "", PLACE)
    assert request
    client = allow("iot:Connect", f"{ARN % 'iot'}client/{{deviceId}}")
    granted = render.iot_policy(
        bare({"mqtt": {"Version": render.VERSION, "Statement": [client]}}), "mqtt", PLACE
    )
    documents = (policy.document(PLACE), json.loads(granted or ""))
    with_thing = Rights(PLACE, documents, variables=thing_of(DeviceId("dev1")))
    without = Rights(PLACE, documents, variables=thing_of(DeviceId("dev1")) | {ATTACHED: "false"})
    for evaluator in evaluators:
        assert evaluator.allowed([(with_thing, request), (without, request)]) == [True, False]


def test_a_shared_certificates_client_is_no_device(evaluators: tuple[Evaluator, ...]) -> None:
    """A claim certificate's client has no device's rights, even if the id that it chose has a wildcard.

    Here alone the evaluators differ, over a wildcard in the value of a variable.
    """
    ministack, simulate = evaluators
    request = Touch("iot:Receive", f"{ARN % 'iot'}topic/firstboot/{{deviceId}}/certificates/accepted")
    rights = Rights(PLACE, (ServicePolicy.CLAIM.document(PLACE),), variables={CLIENT: "boot-*"})
    to_device, to_claim = (request.request(name, "", PLACE) for name in ("dev1", "boot-dev1"))
    assert to_device
    assert to_claim
    asked = [(rights, to_device), (rights, to_claim)]
    assert ministack.allowed(asked) == [False, True]
    assert simulate.allowed(asked) == [False, False]


_SITE = """
@id("site") permit (principal, action, resource == Grant::"telemetry")
when { principal has site && principal.site != "none" };
@id("model") permit (principal, action, resource == Grant::"telemetry")
when { principal.claims has model && principal.claims.model like "*1*" };
"""
_FLEET = fleet(rules=_SITE)
_TELEMETRY = Grant(
    (allow("s3:PutObject", "arn:{partition}:s3:::b/{deviceId}/*"),),
    (Touch("s3:PutObject", "arn:{partition}:s3:::b/{deviceId}/x"),),
)
_VALUES = (
    st.sampled_from(HOSTILE_NAMES)
    | st.sampled_from(["none", "dev10", "dev1", "a" * 1_000])
    | st.text(max_size=80)
)


@settings(STEADY, max_examples=60)
@given(_VALUES, _VALUES, st.sampled_from(HOSTILE_NAMES))
def test_attributes_and_claims_give_a_grant_or_not(
    evaluators: tuple[Evaluator, ...], site: str, model: str, extra: str
) -> None:
    """Attributes and claims decide only whether a device holds a grant, and never change its policy.

    They may have any value, also the id of another device.
    """
    held = {}
    for name in ("dev1", "dev10"):
        claims: dict[str, Attribute] = {"model": model, "deviceId": "dev10", extra: model}
        one = device(device_id=name, attributes={"site": site}, claims=claims)
        held[one.device_id] = Rules(_FLEET).decide(one, RequestContext()).grants
    check(pairs({"telemetry": _TELEMETRY}, held, PLACE), evaluators)
    for name, grants in held.items():
        if grants:
            plain = render.session_policy(_FLEET, ["telemetry"], name, PLACE)
            assert render.session_policy(_FLEET, grants, name, PLACE) == plain
