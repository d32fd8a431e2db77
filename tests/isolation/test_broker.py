"""No device has another's rights at the MQTT broker, with clients and certificates on real sockets."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from firstboot.compiler import templates
from firstboot.domain.names import DeviceId, IdRule, is_thing_name
from firstboot.policy import render
from firstboot.policy.service import ServicePolicy
from tests.isolation.broker import EVERYTHING, PLACE, Broker
from tests.isolation.devices import COLONS, HOSTILE_NAMES, PLAIN, accepted, neighbours
from tests.isolation.evaluators import Request
from tests.isolation.fleets import ARN, BROKER_GRANTS, Grant, Touch, bare, fleets
from tests.isolation.mqtt import connected
from tests.isolation.pairs import ASKING, THING, Pair, asking_pairs, pairs
from tests.isolation.test_isolation import STEADY, check
from tests.isolation.test_loosened import DEVICES, LOOSE, TIGHT, TOPIC, caught, messages

# All tests of the broker run in one worker, because there is one broker.
pytestmark = pytest.mark.xdist_group("broker")

COUNT = 2_000
# A failing pair explains itself, and shrinking the fleet would take minutes here.
STEADILY = settings(STEADY, phases=[Phase.generate])


def asked(grants: dict[str, Grant], held: dict[DeviceId, tuple[str, ...]]) -> list[Pair]:
    """Return the pairs for the broker. A device whose id is no thing name has no pairs by certificate."""
    found = pairs(grants, held, PLACE)
    return [each for each in found if each.way == "token" or _has_certificate(each)]


def _has_certificate(pair: Pair) -> bool:
    return pair.way == "certificate" and is_thing_name(DeviceId(pair.device))


def test_no_device_touches_what_is_anothers(broker: Broker) -> None:
    """A device connects, publishes and receives at the broker as its grants say, and never as another device.

    The fleets are random, and in half of them device ids may have colons. The rights come from a certificate
    with the policies that `register` attaches, or from a token.
    """
    counted: Counter[tuple[str, bool]] = Counter()

    @settings(STEADILY, max_examples=18)
    @given(st.sampled_from([PLAIN, COLONS]), st.data())
    def property_(rule: IdRule, data: Any) -> None:
        grants = data.draw(fleets(BROKER_GRANTS, colons=rule.colons))
        devices = data.draw(neighbours(rule))
        names = st.just(set(grants)) | st.sets(st.sampled_from(sorted(grants)))
        held = {device: tuple(sorted(data.draw(names))) for device in devices}
        found = [each for each in asked(grants, held) if broker.takes(each.request)]
        check(found, (broker,))
        for pair in found:
            counted[pair.way, pair.expected] += 1
            counted[pair.request.action, pair.expected] += 1
            counted["colon", pair.expected] += ":" in pair.device

    property_()
    kinds = ["certificate", "token", "colon", "iot:Connect", "iot:Publish", "iot:Receive", "iot:Subscribe"]
    assert all(counted[kind, expected] for kind in kinds for expected in (True, False)), counted
    assert sum(counted[way, expected] for way in kinds[:2] for expected in (True, False)) >= COUNT


@pytest.mark.parametrize("policy", ASKING)
@settings(STEADILY, max_examples=3)
@given(devices=neighbours(COLONS))
def test_a_certificate_without_rights_asks_for_its_own_alone(
    broker: Broker, devices: tuple[DeviceId, ...], policy: ServicePolicy
) -> None:
    """A bootstrap or superseded certificate may only ask for a certificate, as its own device or client."""
    check(asking_pairs(policy, devices, PLACE), (broker,))


def _topics(action: str) -> Grant:
    return messages(action, TOPIC, "{deviceId}/*")


HELD = {name: TIGHT[name] for name in ("client", "topics", "filters")}
HELD |= {"hearing": _topics("iot:Receive"), "keeping": _topics("iot:RetainPublish")}


@pytest.mark.parametrize("name", HELD)
def test_a_strict_grant_is_accepted(broker: Broker, name: str) -> None:
    """Every kind of right at the broker works on a device's own topics, and on no other device's."""
    assert templates.check(bare({"g": HELD[name].template})) == []
    check(asked({"g": HELD[name]}, dict.fromkeys(DEVICES[:4], ("g",))), (broker,))


def test_no_name_gives_access_to_another(broker: Broker) -> None:
    """A name with a meaning in a policy gives a device no right, as a client id or in a topic."""
    held = {DeviceId(name): tuple(HELD) for name in ("dev10", "dev-2")}
    rights = {each.device: each.rights for each in asked(HELD, held) if each.way == "certificate"}
    kinds = ("Connect", "client/{}"), ("Publish", "topic/{}/x"), ("Subscribe", "topicfilter/{}/x")
    found = [
        Pair(
            device,
            name,
            "certificate",
            had,
            Request(f"iot:{action}", _arn(text.format(name))),
            expected=False,
        )
        for device, had in rights.items()
        for name in HOSTILE_NAMES
        for action, text in (*kinds, ("Receive", "topic/{}/x"))
    ]
    assert rights.keys() == held.keys()
    check(found, (broker,))


def _arn(resource: str) -> str:
    filled = Touch("", f"{ARN % 'iot'}{resource}").request("", "", PLACE)
    assert filled
    return filled.resource


def test_each_connected_device_receives_only_its_own(broker: Broker) -> None:
    """With all devices connected and publishing, each message reaches its own device and no other."""
    devices = [DeviceId(name) for name in ("dev1", "dev10", "DEV1", "dev1-x", "xdev1")]
    rights = {
        each.device: each.rights
        for each in asked(HELD, dict.fromkeys(devices, tuple(HELD)))
        if each.way == "certificate"
    }
    with ExitStack() as stack:
        clients = {}
        for device, had in rights.items():
            login = broker.login(device, had.identity, had.variables[THING])
            client = stack.enter_context(connected(login, device))
            assert client
            wanted = [f"{each}/x" for each in devices]
            assert client.subscribe([*wanted, *EVERYTHING]) == [
                *(each == device for each in devices),
                False,
                False,
            ]
            clients[device] = client
        for device, client in clients.items():
            messages = [(f"{each}/x", f"by {device}") for each in devices]
            assert client.publish(messages) == [each == device for each in devices]
        for device, client in clients.items():
            client.settle()
            assert client.received == {(f"{device}/x", f"by {device}")}


AT_THE_BROKER = sorted(name for name, grant in LOOSE.items() if grant.touches[0].action.startswith("iot:"))


@pytest.mark.parametrize("name", AT_THE_BROKER)
def test_a_loose_grant_is_caught(broker: Broker, name: str) -> None:
    """The broker allows access to another device under each loose grant, which the compiler refuses."""
    assert templates.check(bare({"g": LOOSE[name].template}))
    found = asked({"g": LOOSE[name]}, dict.fromkeys(DEVICES[:4], ("g",)))
    assert caught(found, broker)


def test_a_variable_that_became_a_wildcard_is_caught(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """If rendering put `*` in the place of the thing name, each kind of grant would show it.

    A certificate would even then connect as its own thing alone, by the condition that it is attached to it.
    """
    monkeypatch.setattr(render, "THING_NAME", "*")
    found = asked(HELD, dict.fromkeys(DEVICES[:4], tuple(HELD)))
    actions = {pair.request.action for pair in caught(found, broker)}
    others = {f"iot:{each}" for each in ("Publish", "Receive", "RetainPublish", "Subscribe")}
    assert actions == others
    monkeypatch.setattr(render, "ATTACHED", {})
    found = asked(HELD, dict.fromkeys(DEVICES[:4], tuple(HELD)))
    assert {pair.request.action for pair in caught(found, broker)} == others | {"iot:Connect"}


@pytest.mark.parametrize("name", ["dev*", "????"])
def test_a_name_with_a_wildcard_is_caught(broker: Broker, name: str) -> None:
    """A name with a wildcard is refused: in a bootstrap certificate the broker takes it as a pattern."""
    assert accepted(name) is None
    found = asking_pairs(ServicePolicy.BOOTSTRAP, (DeviceId(name), DEVICES[0]), PLACE)
    assert caught(found, broker)
