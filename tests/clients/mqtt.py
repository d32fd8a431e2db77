"""MQTT clients of other authors, each of which makes one call, and a first boot with one of them."""

from __future__ import annotations

import base64
import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

from awscrt import mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from paho.mqtt.enums import MQTTProtocolVersion

from firstboot.domain import topics
from firstboot.domain.topics import Call
from tests import factories
from tests.clients.programs import program
from tests.flows.conftest import Cloud, until
from tests.flows.devices import issued
from tests.flows.mqtt import SECONDS, Ask, Identity, Members, paho
from tests.flows.test_mqtt import out_of_the_box


def aws_sdk(who: Identity, call: Call, members: Members) -> tuple[str, Members]:
    """Make a call with AWS's SDK and MQTT 3.1.1."""
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
    """Make a call with AWS's SDK and MQTT 5."""
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
    """Make a call that must be accepted with mosquitto's request-response client, which subscribes to one
    topic.
    """
    accepted = call.accepted_topic(who.client_id)
    request = ["-t", call.request_topic(who.client_id), "-e", accepted, "-m", json.dumps(members), "-q", "1"]
    done = mosquitto_run("mosquitto_rr", who, *request, "-V", "mqttv311")
    assert done.returncode == 0, done.stderr
    return accepted, json.loads(done.stdout)


def mosquitto_run(name: str, who: Identity, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of mosquitto's clients."""
    where = ["-h", who.broker["host"], "-p", str(who.broker["port"]), "--cafile", who.broker["ca"]]
    as_whom = ["--cert", str(who.certificate), "--key", str(who.key), "-i", who.client_id]
    command = [program(name), *where, *as_whom, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


CLIENTS: dict[str, Ask] = {
    "paho 3.1.1": paho(MQTTProtocolVersion.MQTTv311),
    "paho 5": paho(MQTTProtocolVersion.MQTTv5),
    "awsiotsdk 3.1.1": aws_sdk,
    "awsiotsdk 5": aws_sdk_5,
    "mosquitto": mosquitto_rr,
}


def first_boot(cloud: Cloud, folder: Path, ask: Ask) -> tuple[str, Members]:
    """Get a certificate for a new device, wait until AWS IoT knows it, log in and get credentials.

    Returns the device's name and the answer with credentials.
    """
    factory = out_of_the_box(cloud, folder)
    key = factories.ec_key()
    request = {"csr": factories.pem(factories.csr(key)), "deliver": "inline", "configuration": True}
    request |= {"bootstrap": factory.certificate.read_text(), "clientToken": "the same"}
    topic, answer = ask(factory, topics.CERTIFICATES, request)
    assert topic == topics.CERTIFICATES.accepted_topic(factory.client_id)
    assert (answer["clientToken"], answer["configuration"]) == ("the same", {})
    until(lambda: ask(factory, topics.CERTIFICATES, request)[1]["mqtt"]["ready"])
    own = _own(factory, answer, key)
    topic, committed = ask(own, topics.COMMIT, {})
    assert topic == topics.COMMIT.accepted_topic(own.client_id)
    assert (committed["certificateId"], committed["status"]) == (own.certificate_id, "active")
    topic, vended = ask(own, topics.CREDENTIALS, {"roleAlias": "telemetry"})
    assert topic == topics.CREDENTIALS.accepted_topic(own.client_id)
    assert set(vended["credentials"]) == {"accessKeyId", "secretAccessKey", "sessionToken", "expiration"}
    assert len(issued(cloud, own.client_id)) == 1
    return own.client_id, vended


def _own(factory: Identity, answer: Members, key: Any) -> Identity:
    leaf = x509.load_der_x509_certificate(base64.b64decode(answer["certificate"]))
    folder = factory.certificate.parent
    (folder / "own.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "own.key").write_text(factories.key_pem(key))
    return Identity(factory.cloud, folder / "own.pem", folder / "own.key", factory.client_id)
