"""No device is another for the MQTT broker either: certificates, policies and clients on real sockets."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from firstboot.compiler import templates
from firstboot.domain.names import DeviceId, is_thing_name
from firstboot.policy import render
from firstboot.policy.service import ServicePolicy
from tests.isolation.broker import EVERYTHING, PLACE, Broker
from tests.isolation.devices import HOSTILE_NAMES, accepted, neighbours
from tests.isolation.evaluators import Request
from tests.isolation.fleets import ARN, BROKER_GRANTS, Grant, Touch, bare, fleets
from tests.isolation.mqtt import connected
from tests.isolation.pairs import BOOTSTRAPS, THING, Pair, bootstrap_pairs, pairs
from tests.isolation.test_isolation import STEADY, check
from tests.isolation.test_loosened import DEVICES, LOOSE, TIGHT, TOPIC, caught, messages

# One worker, one broker.
pytestmark = pytest.mark.xdist_group("broker")

COUNT = 2_000
# A failure's pair says all; to look for a smaller fleet would take minutes here.
STEADILY = settings(STEADY, phases=[Phase.generate])


def asked(grants: dict[str, Grant], held: dict[DeviceId, tuple[str, ...]]) -> list[Pair]:
    """The pairs of clients at the broker. No device's certificate has a thing whose name is none."""
    found = pairs(grants, held, PLACE)
    return [each for each in found if each.way == "token" or _has_certificate(each)]


def _has_certificate(pair: Pair) -> bool:
    return pair.way == "certificate" and is_thing_name(DeviceId(pair.device))


def test_no_device_touches_what_is_anothers(broker: Broker) -> None:
    """Over random fleets: each device connects, speaks and hears as its grants say, and as no other; by
    its certificate with the policies that `register` attaches, and by those that a token gives it.
    """
    counted: Counter[tuple[str, bool]] = Counter()

    @settings(STEADILY, max_examples=18)
    @given(fleets(BROKER_GRANTS), neighbours(), st.data())
    def property_(grants: dict[str, Grant], devices: tuple[DeviceId, ...], data: Any) -> None:
        names = st.just(set(grants)) | st.sets(st.sampled_from(sorted(grants)))
        held = {device: tuple(sorted(data.draw(names))) for device in devices}
        found = [each for each in asked(grants, held) if broker.takes(each.request)]
        check(found, (broker,))
        for pair in found:
            counted[pair.way, pair.expected] += 1
            counted[pair.request.action, pair.expected] += 1

    property_()
    kinds = ["certificate", "token", "iot:Connect", "iot:Publish", "iot:Receive", "iot:Subscribe"]
    assert all(counted[kind, expected] for kind in kinds for expected in (True, False)), counted
    assert sum(counted[way, expected] for way in kinds[:2] for expected in (True, False)) >= COUNT


@pytest.mark.parametrize("policy", BOOTSTRAPS)
@settings(STEADILY, max_examples=3)
@given(devices=neighbours())
def test_a_bootstrap_certificate_asks_for_its_own_alone(
    broker: Broker, devices: tuple[DeviceId, ...], policy: ServicePolicy
) -> None:
    """By its common name, or, if many share it, by the id that its client has chosen."""
    check(bootstrap_pairs(policy, devices, PLACE), (broker,))


def _topics(action: str) -> Grant:
    return messages(action, TOPIC, "{deviceId}/*")


HELD = {name: TIGHT[name] for name in ("client", "topics", "filters")}
HELD |= {"hearing": _topics("iot:Receive"), "keeping": _topics("iot:RetainPublish")}


@pytest.mark.parametrize("name", HELD)
def test_what_is_tight_is_taken(broker: Broker, name: str) -> None:
    """Whatever of a broker's a grant may be of: a device does it with its own, and with nobody else's."""
    assert templates.check(bare({"g": HELD[name].template})) == []
    check(asked({"g": HELD[name]}, dict.fromkeys(DEVICES[:4], ("g",))), (broker,))


def test_no_name_is_a_way_to_another(broker: Broker) -> None:
    """A device that calls itself, or another's topics, by what would act in a policy gets nothing."""
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


def test_all_at_once_hear_their_own(broker: Broker) -> None:
    """Every device is connected, has asked for every other's topics, and speaks: each message is heard
    by its device, and by nobody else.
    """
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
            assert client.heard == {(f"{device}/x", f"by {device}")}


AT_THE_BROKER = sorted(name for name, grant in LOOSE.items() if grant.touches[0].action.startswith("iot:"))


@pytest.mark.parametrize("name", AT_THE_BROKER)
def test_a_loose_grant_is_caught(broker: Broker, name: str) -> None:
    """Compiled past the compiler, which takes none, it is seen to let a device touch another's."""
    assert templates.check(bare({"g": LOOSE[name].template}))
    found = asked({"g": LOOSE[name]}, dict.fromkeys(DEVICES[:4], ("g",)))
    assert caught(found, broker)


def test_a_variable_that_became_a_wildcard_is_caught(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Had render.py put `*` where the thing's name is to be, each kind of grant would show it."""
    monkeypatch.setattr(render, "THING_NAME", "*")
    found = asked(HELD, dict.fromkeys(DEVICES[:4], tuple(HELD)))
    actions = {pair.request.action for pair in caught(found, broker)}
    assert actions == {
        f"iot:{each}" for each in ("Connect", "Publish", "Receive", "RetainPublish", "Subscribe")
    }


@pytest.mark.parametrize("name", ["dev*", "????"])
def test_a_name_that_acts_is_caught(broker: Broker, name: str) -> None:
    """No device has such a name; in a bootstrap certificate the broker would take it for a pattern."""
    assert accepted(name) is None
    found = bootstrap_pairs(ServicePolicy.BOOTSTRAP, (DeviceId(name), DEVICES[0]), PLACE)
    assert caught(found, broker)
