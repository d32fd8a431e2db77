"""Pairs of a device and a request, made from a fleet, each with the decision that must result."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firstboot.domain import topics
from firstboot.domain.names import RESERVED_PREFIX, DeviceId, is_thing_name
from firstboot.policy import render
from firstboot.policy.errors import NoGrant, PoliciesTooLarge
from firstboot.policy.limits import SESSION_POLICY
from firstboot.policy.render import Place
from firstboot.policy.service import ServicePolicy
from tests.isolation.evaluators import Evaluator, Request, Rights
from tests.isolation.fleets import ARN, OTHERS, OWNED, SHARED, Grant, Touch, bare

THING = "iot:Connection.Thing.ThingName"
ATTACHED = "iot:Connection.Thing.IsAttached"
CLIENT = "iot:ClientId"
COMMON_NAME = "iot:Certificate.Subject.CommonName"
SERIAL_NUMBER = "iot:Certificate.Subject.SerialNumber"
URI = "iot:Certificate.Subject.AlternativeName.UniformResourceIdentifier"

SERVICE = tuple(
    Touch(action, f"{ARN % 'iot'}{kind}/{rest}", whose=whose)
    for action, kind, rest, whose in (
        ("iot:Connect", "client", "{deviceId}", OWNED),
        ("iot:Publish", "topic", f"firstboot/{{deviceId}}/{topics.CREDENTIALS.request}", OWNED),
        (
            "iot:Subscribe",
            "topicfilter",
            f"firstboot/{{deviceId}}/{topics.CREDENTIALS.answer}/accepted",
            OWNED,
        ),
        ("iot:Receive", "topic", f"firstboot/{{deviceId}}/{topics.CERTIFICATES.answer}/rejected", OWNED),
        ("iot:Subscribe", "topicfilter", "firstboot/#", OTHERS),
        ("iot:Subscribe", "topicfilter", "firstboot/+/credentials/accepted", OTHERS),
        ("iot:Subscribe", "topicfilter", "firstboot/*/credentials/accepted", OTHERS),
    )
)
"""Requests on Firstboot's own topics, whose answers hold certificates and credentials.

A connection belongs to the device that has its client id.
"""


@dataclass(frozen=True)
class Pair:
    """A device's rights, a request, and whether it must be allowed. The resource belongs to `owner`."""

    device: str
    owner: str
    way: str
    rights: Rights
    request: Request
    expected: bool

    def __str__(self) -> str:
        said = json.dumps([self.rights.session or self.rights.identity], indent=1)
        decision = "allowed" if self.expected else "refused"
        start = f"{self.device} by {self.way} must be {decision} on a resource of {self.owner}"
        return f"{start}: {self.request}\n{said}"


def pairs(grants: Mapping[str, Grant], held: Mapping[DeviceId, tuple[str, ...]], place: Place) -> list[Pair]:
    """Return the requests of every device that holds grants, by every way to its rights.

    They are about its own resources and about those of each other device.
    """
    return [pair for device in held for pair in _of_device(grants, held, device, place)]


def _of_device(
    grants: Mapping[str, Grant], held: Mapping[DeviceId, tuple[str, ...]], device: DeviceId, place: Place
) -> Iterator[Pair]:
    fleet = bare({name: grant.template for name, grant in grants.items()})
    for way, rights in _ways(fleet, held[device], device, place):
        own = [touch for name, touch in _touches(grants) if _is_given(way, name, held[device])]
        asked: dict[str, Pair] = {}
        for owner in sorted(held, key=lambda each: each != device):  # its own first
            touches = own if owner == device else [touch for _, touch in _touches(grants)]
            for touch in touches:
                # A shared resource has no owner, so it is asked for once.
                if touch.whose == (OTHERS if owner == device else SHARED) or _is_elsewhere(way, touch):
                    continue
                if request := touch.request(owner, device, place):
                    expected = owner == device and touch.whose in (OWNED, SHARED)
                    # A request for a device's own and for another's resource is in twice, and one decision
                    # must be wrong.
                    asked.setdefault(
                        f"{request}{expected}", Pair(device, owner, way, rights, request, expected)
                    )
        yield from asked.values()


def _touches(grants: Mapping[str, Grant]) -> Iterable[tuple[str | None, Touch]]:
    yield from ((name, touch) for name, grant in grants.items() for touch in grant.touches)
    # Without a grant about AWS IoT, the rights at the broker are not under test.
    if "iot:" in json.dumps([grant.template for grant in grants.values()]):
        yield from ((None, touch) for touch in SERVICE)


def _is_elsewhere(way: str, touch: Touch) -> bool:
    # Only AWS IoT's broker evaluates IoT policies.
    return way != "session" and not touch.action.startswith("iot:")


def _is_given(way: str, name: str | None, held: tuple[str, ...]) -> bool:
    # A request on a grant that the device does not hold is left out, because another grant may allow it.
    return name in held if name else way == "certificate"


def _ways(fleet: Any, held: tuple[str, ...], device: DeviceId, place: Place) -> Iterator[tuple[str, Rights]]:
    """Yield the rights of a device by STS session, by its certificate and by a token at AWS IoT."""
    try:
        session = render.session_policy(fleet, held, device, place)
    except NoGrant:
        return
    if len(session) <= SESSION_POLICY:
        yield "session", Rights(place, (render.ceiling(fleet, place),), json.loads(session))
    own = ServicePolicy.DEVICE.document(place)
    attached = [json.loads(text) for name in held if (text := render.iot_policy(fleet, name, place))]
    yield "certificate", Rights(place, (own, *attached), variables=thing_of(device))
    try:
        documents = tuple(render.connection_policies(fleet, held, device, place))
        yield "token", Rights(place, documents, variables={CLIENT: device})
    except (NoGrant, PoliciesTooLarge):
        return


def thing_of(device: DeviceId) -> dict[str, str]:
    """Return the policy variables of a connection by a certificate that is attached to the device's thing."""
    return {THING: device, ATTACHED: "true", CLIENT: device}


ASKING = tuple(each for each in ServicePolicy if each is not ServicePolicy.DEVICE)
"""The service policies of certificates that may only ask for a certificate."""

_ASKING = (
    ("iot:Connect", "client/{deviceId}", OWNED),
    ("iot:Publish", "topic/firstboot/{deviceId}/certificates/request", OWNED),
    ("iot:Receive", "topic/firstboot/{deviceId}/certificates/accepted", OWNED),
    ("iot:Subscribe", "topicfilter/firstboot/{deviceId}/certificates/rejected", OWNED),
    ("iot:Publish", "topic/firstboot/{deviceId}/certificates/commit", "no device may"),
    ("iot:Publish", "topic/firstboot/{deviceId}/credentials/request", "no device may"),
    ("iot:Receive", "topic/firstboot/{deviceId}/credentials/accepted", "no device may"),
    ("iot:Receive", "topic/firstboot/{deviceId}/certificates/commit/accepted", "no device may"),
    ("iot:Subscribe", "topicfilter/firstboot/{deviceId}/credentials/accepted", "no device may"),
    ("iot:Subscribe", "topicfilter/firstboot/{deviceId}/#", "no device may"),
    ("iot:Subscribe", "topicfilter/firstboot/+/certificates/accepted", "no device may"),
    ("iot:Publish", "topic/firstboot/?/certificates/request", "no device may"),
)


def asking_pairs(policy: ServicePolicy, devices: Sequence[DeviceId], place: Place) -> list[Pair]:
    """Return the requests of every device by a certificate with `policy`, on its own and others' topics."""
    # A superseded certificate is known by its thing, and not each device id is a thing's name.
    asked = [name for name in devices if is_thing_name(name) or policy is not ServicePolicy.SUPERSEDED]
    return [pair for name in asked for owner in devices for pair in _of_asking(policy, name, owner, place)]


def _of_asking(policy: ServicePolicy, name: DeviceId, owner: DeviceId, place: Place) -> Iterator[Pair]:
    shared = policy is ServicePolicy.CLAIM
    before = RESERVED_PREFIX if shared else ""
    named: dict[ServicePolicy, dict[str, str]] = {
        ServicePolicy.BOOTSTRAP: {COMMON_NAME: name},
        ServicePolicy.BOOTSTRAP_SERIAL_NUMBER: {SERIAL_NUMBER: name},
        ServicePolicy.BOOTSTRAP_URI: {URI: name},
        ServicePolicy.SUPERSEDED: thing_of(name),
    }
    variables = {CLIENT: before + name} | named.get(policy, {})
    rights = Rights(place, (policy.document(place),), variables=variables)
    for action, text, whose in _ASKING:
        request = Touch(action, ARN % "iot" + text).request(before + owner, name, place)
        # The client of a claim certificate chooses its client id, and with it which device it is.
        if request and not (shared and owner != name and action == "iot:Connect"):
            yield Pair(name, owner, policy, rights, request, owner == name and whose == OWNED)


def wrong(found: list[Pair], evaluators: Iterable[Evaluator]) -> list[Pair]:
    """Return the pairs that an evaluator decides wrongly."""
    bad: list[Pair] = []
    for evaluator in evaluators:
        asked = [each for each in found if evaluator.takes(each.request)]
        answers = evaluator.allowed([(each.rights, each.request) for each in asked])
        bad += [each for each, allowed in zip(asked, answers, strict=True) if allowed != each.expected]
    return bad
