"""From a fleet and its devices to (device, request) pairs, each with what must come of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from firstboot import topics
from firstboot.errors import NoGrant, PoliciesTooLarge
from firstboot.names import DeviceId
from firstboot.policy import render
from firstboot.policy.limits import SESSION_POLICY
from firstboot.policy.render import Place
from firstboot.policy.service import ServicePolicy
from tests.isolation.evaluators import Evaluator, Request, Rights
from tests.isolation.fleets import ARN, OTHERS, OWNED, Grant, Touch, bare

THING = "iot:Connection.Thing.ThingName"
CLIENT = "iot:ClientId"
COMMON_NAME = "iot:Certificate.Subject.CommonName"

SERVICE = tuple(
    Touch(action, f"{ARN % 'iot'}{kind}/firstboot/{{deviceId}}/{rest}")
    for action, kind, rest in (
        ("iot:Publish", "topic", topics.CREDENTIALS.request),
        ("iot:Subscribe", "topicfilter", f"{topics.CREDENTIALS.answer}/accepted"),
        ("iot:Receive", "topic", f"{topics.CERTIFICATES.answer}/rejected"),
    )
) + tuple(
    Touch("iot:Subscribe", f"{ARN % 'iot'}topicfilter/firstboot/{each}", whose=OTHERS)
    for each in ("#", "+/credentials/accepted", "*/credentials/accepted")
)
"""What Firstboot's own topics are for: answers hold certificates and credentials."""


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
        yield "token", Rights(place, tuple(render.connection_policies(fleet, held, device, place)))
    except (NoGrant, PoliciesTooLarge):
        return


def wrong(found: list[Pair], evaluators: Iterable[Evaluator]) -> list[Pair]:
    """The pairs that an evaluator decides otherwise than they must be."""
    bad: list[Pair] = []
    for evaluator in evaluators:
        asked = [each for each in found if evaluator.takes(each.request)]
        answers = evaluator.allowed([(each.rights, each.request) for each in asked])
        bad += [each for each, allowed in zip(asked, answers, strict=True) if allowed != each.expected]
    return bad
