"""MQTT for flows: clients that no one here wrote, and who they are for the broker."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from awscrt import mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from cryptography import x509
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from firstboot.domain.topics import Call
from firstboot.pki import chain
from tests.clients.broker import mosquitto
from tests.flows.conftest import Cloud

SECONDS = 30

Members = dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """Who connects: a certificate and its key, as files, and a client id."""

    cloud: Cloud
    certificate: Path
    key: Path
    client_id: str

    @property
    def certificate_id(self) -> str:
        """What AWS IoT calls the certificate."""
        return chain.fingerprint(x509.load_pem_x509_certificates(self.certificate.read_bytes())[0])

    @property
    def broker(self) -> Members:
        """The broker's `host`, `port` and `ca`."""
        found: Members = self.cloud.endpoints["mqtt"]
        return found

    def connection(self, protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311) -> Client:
        """A paho client that is to connect."""
        made = Client(
            CallbackAPIVersion.VERSION2, self.client_id, protocol=protocol, reconnect_on_failure=False
        )
        made.tls_set(self.broker["ca"], str(self.certificate), str(self.key))
        return made


Ask = Callable[[Identity, Call, Members], tuple[str, Members]]
"""The answer to a call: its topic, and what it says."""


def paho(protocol: MQTTProtocolVersion) -> Ask:
    """paho-mqtt."""

    def ask(who: Identity, call: Call, members: Members) -> tuple[str, Members]:
        heard: queue.Queue[tuple[str, Members]] = queue.Queue()
        subscribed = threading.Event()
        connection = who.connection(protocol)
        connection.on_message = lambda _, __, message: heard.put((message.topic, json.loads(message.payload)))
        connection.on_subscribe = lambda *_: subscribed.set()
        connection.connect(who.broker["host"], who.broker["port"])
        connection.loop_start()
        try:
            connection.subscribe([(topic, 1) for topic in call.answer_topics(who.client_id)])
            assert subscribed.wait(SECONDS)
            connection.publish(call.request_topic(who.client_id), json.dumps(members), qos=1)
            return heard.get(timeout=SECONDS)
        finally:
            connection.disconnect()
            connection.loop_stop()

    return ask


def aws_sdk(who: Identity, call: Call, members: Members) -> tuple[str, Members]:
    """AWS's own SDK, MQTT 3.1.1."""
    heard: queue.Queue[tuple[str, Members]] = queue.Queue()
    connection = mqtt_connection_builder.mtls_from_path(
        str(who.certificate),
        str(who.key),
        endpoint=who.broker["host"],
        port=who.broker["port"],
        ca_filepath=who.broker["ca"],
        client_id=who.client_id,
        clean_session=True,
    )
    connection.connect().result(SECONDS)
    for topic in call.answer_topics(who.client_id):
        connection.subscribe(
            topic,
            mqtt.QoS.AT_LEAST_ONCE,
            lambda topic, payload, **_: heard.put((topic, json.loads(payload))),
        )[0].result(SECONDS)
    request = call.request_topic(who.client_id)
    connection.publish(request, json.dumps(members), mqtt.QoS.AT_LEAST_ONCE)[0].result(SECONDS)
    try:
        return heard.get(timeout=SECONDS)
    finally:
        connection.disconnect().result(SECONDS)


def aws_sdk_5(who: Identity, call: Call, members: Members) -> tuple[str, Members]:
    """AWS's own SDK, MQTT 5."""
    heard: queue.Queue[tuple[str, Members]] = queue.Queue()
    connected, stopped = threading.Event(), threading.Event()

    def hear(data: mqtt5.PublishReceivedData) -> None:
        packet = data.publish_packet
        heard.put((packet.topic, json.loads(packet.payload)))

    connection = mqtt5_client_builder.mtls_from_path(
        str(who.certificate),
        str(who.key),
        endpoint=who.broker["host"],
        port=who.broker["port"],
        ca_filepath=who.broker["ca"],
        client_id=who.client_id,
        on_publish_received=hear,
        on_lifecycle_connection_success=lambda _: connected.set(),
        on_lifecycle_stopped=lambda _: stopped.set(),
    )
    connection.start()
    try:
        assert connected.wait(SECONDS)
        wanted = [
            mqtt5.Subscription(topic, mqtt5.QoS.AT_LEAST_ONCE) for topic in call.answer_topics(who.client_id)
        ]
        connection.subscribe(mqtt5.SubscribePacket(wanted)).result(SECONDS)
        request = call.request_topic(who.client_id)
        packet = mqtt5.PublishPacket(json.dumps(members), mqtt5.QoS.AT_LEAST_ONCE, topic=request)
        connection.publish(packet).result(SECONDS)
        return heard.get(timeout=SECONDS)
    finally:
        connection.stop()
        assert stopped.wait(SECONDS)


def mosquitto_rr(who: Identity, call: Call, members: Members) -> tuple[str, Members]:
    """Mosquitto's request and response client. It hears one topic: what must be accepted, is."""
    accepted = call.accepted_topic(who.client_id)
    request = ["-t", call.request_topic(who.client_id), "-e", accepted, "-m", json.dumps(members), "-q", "1"]
    done = mosquitto_run("mosquitto_rr", who, *request, "-V", "mqttv311")
    assert done.returncode == 0, done.stderr
    return accepted, json.loads(done.stdout)


def mosquitto_run(program: str, who: Identity, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of mosquitto's clients."""
    where = ["-h", who.broker["host"], "-p", str(who.broker["port"]), "--cafile", who.broker["ca"]]
    as_whom = ["--cert", str(who.certificate), "--key", str(who.key), "-i", who.client_id]
    command = [mosquitto(program), *where, *as_whom, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


CLIENTS: dict[str, Ask] = {
    "paho 3.1.1": paho(MQTTProtocolVersion.MQTTv311),
    "paho 5": paho(MQTTProtocolVersion.MQTTv5),
    "awsiotsdk 3.1.1": aws_sdk,
    "awsiotsdk 5": aws_sdk_5,
    "mosquitto": mosquitto_rr,
}
