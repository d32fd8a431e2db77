"""From a fleet and its devices to (device, request) pairs, each with what must come of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firstboot.domain import topics
from firstboot.domain.names import RESERVED_PREFIX, DeviceId
from firstboot.policy import render
from firstboot.policy.errors import NoGrant, PoliciesTooLarge
from firstboot.policy.limits import SESSION_POLICY
from firstboot.policy.render import Place
from firstboot.policy.service import ServicePolicy
from tests.isolation.evaluators import Evaluator, Request, Rights
from tests.isolation.fleets import ARN, OTHERS, OWNED, Grant, Touch, bare

THING = "iot:Connection.Thing.ThingName"
CLIENT = "iot:ClientId"
COMMON_NAME = "iot:Certificate.Subject.CommonName"

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
"""What Firstboot's own topics are for: answers hold certificates and credentials. Who connects is who has
that client id.
"""


@dataclass(frozen=True)
class Pair:
    """A device by its rights, what it asks, and whether it must be allowed. `owner` is whose it is."""

    device: str
    owner: str
    way: str
    rights: Rights
    request: Request
    expected: bool

    def __str__(self) -> str:
        said = json.dumps([self.rights.session or self.rights.identity], indent=1)
        return f"{self.device} by {self.way}, for what is {self.owner}'s: {self.request}\n{said}"


def pairs(grants: Mapping[str, Grant], held: Mapping[DeviceId, tuple[str, ...]], place: Place) -> list[Pair]:
    """Every device that holds grants, by every way to its rights, on what is its own and on what is
    each other device's.
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
                if (owner == device and touch.whose == OTHERS) or _is_elsewhere(way, touch):
                    continue
                if request := touch.request(owner, device, place):
                    expected = owner == device and touch.whose == OWNED
                    # What is both its own and another's is asked for twice: one answer is wrong.
                    asked.setdefault(
                        f"{request}{expected}", Pair(device, owner, way, rights, request, expected)
                    )
        yield from asked.values()


def _touches(grants: Mapping[str, Grant]) -> Iterable[tuple[str | None, Touch]]:
    yield from ((name, touch) for name, grant in grants.items() for touch in grant.touches)
    if "iot:" in json.dumps([grant.template for grant in grants.values()]):  # else they are no grant's matter
        yield from ((None, touch) for touch in SERVICE)


def _is_elsewhere(way: str, touch: Touch) -> bool:
    # AWS IoT's policies are asked by its broker alone.
    return way != "session" and not touch.action.startswith("iot:")


def _is_given(way: str, name: str | None, held: tuple[str, ...]) -> bool:
    # What no grant of the device's gives it, it may have by another: that is not asked.
    return name in held if name else way == "certificate"


def _ways(fleet: Any, held: tuple[str, ...], device: DeviceId, place: Place) -> Iterator[tuple[str, Rights]]:
    """How a device comes to rights: by an STS session, by its certificate and by a token at AWS IoT."""
    try:
        session = render.session_policy(fleet, held, device, place)
    except NoGrant:
        return
    if len(session) <= SESSION_POLICY:
        yield "session", Rights(place, (render.ceiling(fleet, place),), json.loads(session))
    own = ServicePolicy.DEVICE.document(place)
    attached = [json.loads(text) for name in held if (text := render.iot_policy(fleet, name, place))]
    yield "certificate", Rights(place, (own, *attached), variables={THING: device, CLIENT: device})
    try:
        documents = tuple(render.connection_policies(fleet, held, device, place))
        yield "token", Rights(place, documents, variables={CLIENT: device})
    except (NoGrant, PoliciesTooLarge):
        return


BOOTSTRAPS = (ServicePolicy.BOOTSTRAP, ServicePolicy.CLAIM)
"""What lets a bootstrap certificate ask: one of the device's own, and one that many share."""

_ASKING = (
    ("iot:Connect", "client/{deviceId}", OWNED),
    ("iot:Publish", "topic/firstboot/{deviceId}/certificates/request", OWNED),
    ("iot:Receive", "topic/firstboot/{deviceId}/certificates/accepted", OWNED),
    ("iot:Subscribe", "topicfilter/firstboot/{deviceId}/certificates/rejected", OWNED),
    ("iot:Publish", "topic/firstboot/{deviceId}/certificates/commit", "nobody may"),
    ("iot:Publish", "topic/firstboot/{deviceId}/credentials/request", "nobody may"),
    ("iot:Subscribe", "topicfilter/firstboot/{deviceId}/credentials/accepted", "nobody may"),
    ("iot:Subscribe", "topicfilter/firstboot/{deviceId}/#", "nobody may"),
    ("iot:Subscribe", "topicfilter/firstboot/+/certificates/accepted", "nobody may"),
    ("iot:Publish", "topic/firstboot/?/certificates/request", "nobody may"),
)


def bootstrap_pairs(policy: ServicePolicy, devices: Sequence[DeviceId], place: Place) -> list[Pair]:
    """Every device by its bootstrap certificate, on its own topics and on each other's."""
    return [
        pair for name in devices for owner in devices for pair in _of_bootstrap(policy, name, owner, place)
    ]


def _of_bootstrap(policy: ServicePolicy, name: DeviceId, owner: DeviceId, place: Place) -> Iterator[Pair]:
    shared = policy is ServicePolicy.CLAIM
    before = RESERVED_PREFIX if shared else ""
    variables = {CLIENT: before + name} | ({} if shared else {COMMON_NAME: name})
    rights = Rights(place, (policy.document(place),), variables=variables)
    for action, text, whose in _ASKING:
        request = Touch(action, ARN % "iot" + text).request(before + owner, name, place)
        # A shared certificate's client chooses its id, and so who it is.
        if request and not (shared and owner != name and action == "iot:Connect"):
            yield Pair(name, owner, policy, rights, request, owner == name and whose == OWNED)


def wrong(found: list[Pair], evaluators: Iterable[Evaluator]) -> list[Pair]:
    """The pairs that an evaluator decides otherwise than they must be."""
    bad: list[Pair] = []
    for evaluator in evaluators:
        asked = [each for each in found if evaluator.takes(each.request)]
        answers = evaluator.allowed([(each.rights, each.request) for each in asked])
        bad += [each for each, allowed in zip(asked, answers, strict=True) if allowed != each.expected]
    return bad
