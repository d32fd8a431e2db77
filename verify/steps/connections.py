"""Steps of devices' connections to AWS IoT's broker: when it takes one, and what it sends and publishes."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from device.store import FileIdentity, Identity
from firstboot.domain import topics
from verify import mqtt, observer
from verify.bench import Bench, Unit
from verify.broker import ACCEPTED, V311, Broker, Connection, Login, Message
from verify.spending import Act
from verify.step import Failed, Lacking, Measurement, Measurements, Need, Step
from verify.steps.jitr import certificate_id

_CONNECTIONS = 10
_ANSWER_SECONDS = 60.0
_TAKEOVER_SECONDS = 60.0


def unattached(bench: Bench) -> Measurements:
    """Connect with a new certificate before AWS IoT has the device's thing, and after the thing lost it.

    The policies have the condition iot:Connection.Thing.IsAttached.
    """
    unit, iot = mqtt.over_https(bench), bench.client("iot")
    first = mqtt.let_in(bench, mqtt.login(unit))
    yield Measurement("refusals of a new certificate until it was let in", first.refused)
    yield Measurement("time until it was let in", first.seconds, "s")
    known = iot.describe_certificate(certificateId=certificate_id(unit.live))["certificateDescription"]
    attached = {"thingName": unit.name, "principal": known["certificateArn"]}
    iot.detach_thing_principal(**attached)
    try:
        out = mqtt.shut_out(bench, mqtt.login(unit))
    finally:
        iot.attach_thing_principal(**attached)
    yield Measurement("the broker's answer without the thing", out.outcomes[-1])
    yield Measurement("connections after the thing was detached", len(out.outcomes) - 1)
    back = mqtt.let_in(bench, mqtt.login(unit))
    yield Measurement("time until it was let in again", back.seconds, "s")


def takeover(bench: Bench) -> Measurements:
    """Connect twice with one client id."""
    unit, broker = mqtt.connected(bench), mqtt.broker(bench)
    with broker.connected(mqtt.login(unit)) as older:
        begun = time.monotonic()
        with broker.connected(mqtt.login(unit)) as newer:
            if not newer.is_accepted:
                raise Failed("the second connection to be accepted", newer.outcome)
            if (ended := older.ended(_TAKEOVER_SECONDS)) is None:
                raise Failed("the first connection to end", f"both for {_TAKEOVER_SECONDS:.0f} s")
    yield Measurement("the end of the first connection", ended[0])
    yield Measurement("time until its end", ended[1] - begun, "s")


def answers(bench: Bench) -> Measurements:
    """Make calls over MQTT 5, which says when a message expires, and look at the answers' QoS and expiry."""
    unit, broker = mqtt.connected(bench), mqtt.broker(bench)
    alias = next(iter(bench.fleet.role_aliases), None)
    requests: dict[topics.Call, dict[str, str]] = {topics.COMMIT: {}}
    if alias:
        requests[topics.CREDENTIALS] = {"roleAlias": alias}
    with broker.connected(mqtt.login(unit)) as connection:
        for call, members in requests.items():
            answer = _answered(connection, unit, call, members)
            kind = answer.topic.rpartition("/")[2]
            yield Measurement(f"{kind} answer to {call.request}", f"QoS {answer.qos}")
            if answer.expiry_seconds is not None:
                yield Measurement(f"its expiry ({call.request})", answer.expiry_seconds, "s")
            if answer.qos != call.answer_qos:
                raise Failed(f"an answer to {call.request} with QoS {call.answer_qos}", f"QoS {answer.qos}")
            if not answer.expiry_seconds or answer.expiry_seconds > topics.STALE_SECONDS:
                raise Failed(f"an answer that expires in {topics.STALE_SECONDS} s", answer.expiry_seconds)


def _answered(connection: Connection, unit: Unit, call: topics.Call, members: dict[str, str]) -> Message:
    for topic in call.answer_topics(unit.name):
        if (granted := connection.subscribe(topic)) != ACCEPTED:
            raise Failed(f"leave to subscribe to {topic}", granted)
    if (sent := connection.publish(call.request_topic(unit.name), json.dumps(members))) != ACCEPTED:
        raise Failed(f"leave to publish to {call.request}", sent)
    if (message := connection.message(_ANSWER_SECONDS)) is None:
        raise Failed(f"an answer to {call.request}", f"none in {_ANSWER_SECONDS:.0f} s")
    return message


def resumed(bench: Bench) -> Measurements:
    """Resume a device's session with its superseded certificate, which gets no answer with credentials.

    The session has subscribed to the answers about credentials and about certificates. One of each is
    published while no client is connected. AWS IoT must check iot:Receive for stored messages too.
    """
    unit, broker = mqtt.connected(bench), mqtt.broker(bench)
    old = _copied(unit.live, bench)
    unit.renew()
    mqtt.let_in(bench, mqtt.login(unit))
    superseded = Login(unit.name, old)
    secret, public = (call.accepted_topic(unit.name) for call in (topics.CREDENTIALS, topics.CERTIFICATES))
    if not mqtt.repeated(lambda: _answer(broker, superseded, secret) != ACCEPTED):
        raise Failed("no leave for a superseded certificate to subscribe to credentials", ACCEPTED)
    with broker.connected(mqtt.login(unit), V311, clean_session=False) as connection:
        for topic in (secret, public):
            if (granted := connection.subscribe(topic)) != ACCEPTED:
                raise Failed(f"leave to subscribe to {topic}", granted)
    data = bench.client("iot-data")
    for topic in (secret, public):
        data.publish(topic=topic, qos=1, payload=b"{}")
    with broker.connected(superseded, V311, clean_session=False) as connection:
        outcome, found = connection.outcome, [each.topic for each in connection.messages()]
    broker.outcome(mqtt.login(unit), V311)  # a clean session, which ends the stored one
    if outcome != ACCEPTED:
        raise Failed("a connection of the superseded certificate", outcome)
    yield Measurement("stored answers about certificates that arrived", found.count(public))
    yield Measurement("stored answers with credentials that arrived", found.count(secret))
    if secret in found:
        raise Failed("no answer with credentials for a superseded certificate", "one")


def _answer(broker: Broker, who: Login, topic: str) -> str:
    """Return the broker's answer to a subscription, in a connection of its own."""
    with broker.connected(who) as connection:
        return connection.subscribe(topic) if connection.is_accepted else connection.outcome


def _copied(identity: FileIdentity, bench: Bench) -> Identity:
    """Copy an identity, whose files the next one replaces."""
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    copy = FileIdentity(folder / "certificate.pem", folder / "device.key")
    shutil.copyfile(identity.certificate, copy.certificate)
    shutil.copy(identity.key, copy.key)
    return copy


def presence(bench: Bench) -> Measurements:
    """Connect several times in a row, and count the events about it, those that come again or too late."""
    unit, broker = mqtt.connected(bench), mqtt.broker(bench)
    filters = [f"$aws/events/presence/{kind}/{unit.name}" for kind in ("connected", "disconnected")]
    with observer.observing(bench, *filters) as events:
        for _ in range(_CONNECTIONS):
            broker.outcome(mqtt.login(unit))
        found = [json.loads(each.payload) for each in events.messages()]
    if not found:
        raise Lacking("events about connections (presence) from AWS IoT")
    yield Measurement("connections", _CONNECTIONS)
    for kind in ("connected", "disconnected"):
        yield Measurement(f"{kind} events", sum(each["eventType"] == kind for each in found))
    yield Measurement("events that came again", len(found) - len({_place(each) for each in found}))
    later = sum(_place(one) > _place(two) for one, two in pairwise(found))
    yield Measurement("events that came after a later one", later)


def _place(event: dict[str, Any]) -> tuple[int, bool]:
    """Return the event's place in the order in which it happened (developer guide, "Lifecycle events")."""
    return int(event["versionNumber"]), event["eventType"] == "disconnected"


_NEEDS = frozenset({Need.FACTORY, Need.BROKER})

STEPS = (
    Step("a certificate without its thing", unattached, _NEEDS, spends={Act.BOOT: 1, Act.CONNECTION: 120}),
    Step("two connections with one client id", takeover, _NEEDS, spends={Act.BOOT: 1, Act.CONNECTION: 20}),
    Step(
        "a resumed session of a superseded certificate",
        resumed,
        _NEEDS,
        spends={Act.BOOT: 2, Act.CONNECTION: 60},
    ),
    Step("answers over MQTT 5", answers, _NEEDS, spends={Act.BOOT: 1, Act.VEND: 2, Act.CONNECTION: 20}),
    Step("events about connections", presence, _NEEDS, spends={Act.BOOT: 1, Act.CONNECTION: 50}),
)
