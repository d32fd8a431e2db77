"""Steps of one device that tries to be another one at AWS IoT's broker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from paho.mqtt.enums import MQTTProtocolVersion

from firstboot.domain import topics
from verify import mqtt
from verify.bench import Bench
from verify.broker import ACCEPTED, V5, V311, Broker, Connection, Login
from verify.spending import Act
from verify.step import Failed, Measurement, Measurements, Need, Step

_PROTOCOLS = {"MQTT 3.1.1": V311, "MQTT 5": V5}

Deed = Callable[[Connection], str]


def client_ids(bench: Bench) -> Measurements:
    """Connect with a device's certificate under another device's id, and under the id of no device."""
    unit, other = mqtt.connected(bench), mqtt.connected(bench)
    broker = mqtt.broker(bench)
    foreign = {"another device's client id": other.name, "a client id of no device": bench.name()}
    for what, client_id in foreign.items():
        for protocol, version in _PROTOCOLS.items():
            outcome = broker.outcome(Login(client_id, unit.live), version)
            yield Measurement(f"{what}, {protocol}", outcome)
            if outcome == ACCEPTED:
                raise Failed(f"no connection under {what}", outcome)
    if (own := broker.outcome(mqtt.login(unit))) != ACCEPTED:
        raise Failed("a connection under the device's own id", own)


def topic_rights(bench: Bench) -> Measurements:
    """Publish and subscribe to a device's own topics and to those of another device."""
    unit, other = mqtt.connected(bench), bench.name()
    broker, who = mqtt.broker(bench), mqtt.login(unit)
    for protocol, version in _PROTOCOLS.items():
        for what, answer in _answers(broker, who, version, _deeds(unit.name)):
            if answer != ACCEPTED:
                raise Failed(f"leave for {what} by {protocol}", answer)
        refusals = defaultdict(list)
        for what, answer in _answers(broker, who, version, _deeds(other) | _wildcards()):
            if answer == ACCEPTED:
                raise Failed(f"no leave for {what} of another device by {protocol}", answer)
            refusals[what.partition(" ")[0], answer].append(what)
        for (verb, answer), deeds in sorted(refusals.items()):
            yield Measurement(f"{verb}, {protocol}: {len(deeds)} refused", answer)


def _answers(
    broker: Broker, who: Login, version: MQTTProtocolVersion, deeds: dict[str, Deed]
) -> Iterator[tuple[str, str]]:
    """Yield the broker's answer to each deed.

    By MQTT 3.1.1 a refusal ends the connection, maybe a moment later. So another one is made after it.
    """
    left = list(deeds.items())
    while left:
        with broker.connected(who, version) as connection:
            if not connection.is_accepted:
                raise Failed("a connection under the device's own id", connection.outcome)
            answer = ACCEPTED
            while left and not connection.is_gone and (answer == ACCEPTED or version == V5):
                what, deed = left.pop(0)
                answer = deed(connection)
                yield what, answer


def _deeds(device: str) -> dict[str, Deed]:
    deeds: dict[str, Deed] = {}
    for call in topics.CALLS:
        request, answer = call.request_topic(device), call.accepted_topic(device)
        deeds[f"publish to {call.request}"] = lambda at, topic=request: at.publish(topic, "{}")  # type: ignore[misc]
        deeds[f"subscribe to {call.answer}/accepted"] = lambda at, topic=answer: at.subscribe(topic)  # type: ignore[misc]
    return deeds


def _wildcards() -> dict[str, Deed]:
    filters = ("#", f"{topics.ROOT}/#", f"{topics.ROOT}/+/certificates/accepted", "$aws/events/#")
    return {f"subscribe to {each}": lambda at, each=each: at.subscribe(each) for each in filters}  # type: ignore[misc]


_NEEDS = frozenset({Need.FACTORY, Need.BROKER})

STEPS = (
    Step("a foreign client id", client_ids, _NEEDS, spends={Act.BOOT: 2, Act.CONNECTION: 25}),
    Step("another device's topics", topic_rights, _NEEDS, spends={Act.BOOT: 1, Act.CONNECTION: 45}),
)
