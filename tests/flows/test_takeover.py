"""A superseded or bootstrap certificate takes over the client id of the device that is connected."""

from __future__ import annotations

import queue
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from firstboot.domain import topics
from firstboot.pki import chain
from tests import factories
from tests.deploy.halfway import lose_the_new_certificate
from tests.flows.conftest import Cloud, until
from tests.flows.devices import Device, client, fresh_name, issued, printed
from tests.flows.mqtt import SECONDS, Identity, paho
from tests.flows.test_import import policies
from tests.flows.test_mqtt import survives
from tests.paho_clients import end

V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
ASK = paho(V311)


@dataclass(frozen=True)
class Renewed:
    """A device that has renewed: its live identity, its superseded one, and its bootstrap one."""

    live: Identity
    superseded: Identity
    bootstrap: Identity

    def by(self, name: str) -> Identity:
        """Return the identity called `name`."""
        found: Identity = getattr(self, name)
        return found

    def publish(self, topic: str) -> tuple[str, str]:
        """Publish a unique message with QoS 1, which the broker stores, and return its topic and payload."""
        payload = secrets.token_hex(8)
        client(self.live.cloud, "iot-data").publish(topic=topic, qos=1, payload=payload.encode())
        return topic, payload


@pytest.fixture(scope="module")
def renewed(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Renewed:
    """A device that booted and renewed over MQTT, and whose superseded certificate was reconciled."""
    folder = tmp_path_factory.mktemp("renewed")
    device = Device(cloud, fresh_name(), folder, "mqtt")
    device.boot()
    old = folder / "old.pem", folder / "old.key"
    for source, copy in zip(device.identity, old, strict=True):
        shutil.copy(source, copy)
    assert printed(device.run("renew", "--state", str(device.state)))["status"] == "active"
    superseded = Identity(cloud, *old, device.name)
    assert superseded.certificate_id != chain.fingerprint(device.leaf)
    until(lambda: policies(cloud, superseded.certificate_id) == {"Firstboot-superseded"})
    bootstrap = Identity(cloud, folder / "bootstrap.pem", folder / "bootstrap.key", device.name)
    return Renewed(Identity(cloud, *device.identity, device.name), superseded, bootstrap)


@dataclass
class Session:
    """A client in a persistent session. `resumed` says whether the broker had stored one."""

    connection: Client
    resumed: bool = False
    received: queue.Queue[tuple[str, str]] = field(default_factory=queue.Queue)

    def subscribe(self, filters: list[str]) -> None:
        """Subscribe to the filters with QoS 1, which the broker must grant."""
        granted: queue.Queue[list[Any]] = queue.Queue()
        self.connection.on_subscribe = lambda _, __, ___, codes, ____: granted.put(codes)
        self.connection.subscribe([(each, 1) for each in filters])
        assert not any(code.is_failure for code in granted.get(timeout=SECONDS))

    def until(self, last: tuple[str, str]) -> list[tuple[str, str]]:
        """Return all messages up to `last`."""
        found = [self.received.get(timeout=SECONDS)]
        while found[-1] != last:
            found.append(self.received.get(timeout=SECONDS))
        return found


@contextmanager
def persistent(who: Identity, protocol: MQTTProtocolVersion) -> Iterator[Session]:
    """Connect in a persistent session that outlives the connection, or resume the stored one."""
    connection = who.connection(protocol, clean_session=False)
    flags: queue.Queue[Any] = queue.Queue()
    session = Session(connection)
    connection.on_connect = lambda _, __, flag, code, ____: flags.put((flag, code))
    connection.on_message = lambda _, __, message: session.received.put(
        (message.topic, message.payload.decode())
    )
    options: dict[str, Any] = {}
    if protocol == V5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3_600
        options = {"clean_start": False, "properties": properties}
    connection.connect(who.broker["host"], who.broker["port"], **options)
    connection.loop_start()
    try:
        flag, code = flags.get(timeout=SECONDS)
        assert not code.is_failure, code
        session.resumed = flag.session_present
        yield session
    finally:
        end(connection)


@pytest.mark.parametrize("protocol", [V311, V5])
@pytest.mark.parametrize("name", ["superseded", "bootstrap"])
def test_a_resumed_session_gets_no_credentials(
    renewed: Renewed, name: str, protocol: MQTTProtocolVersion
) -> None:
    """A certificate that resumes its device's session gets answers about certificates, and no credentials.

    The device has subscribed to both. One answer is published while no client is connected, and one after the
    session was resumed.
    """
    device = renewed.live.client_id
    credentials = topics.CREDENTIALS.accepted_topic(device)
    certificates = topics.CERTIFICATES.accepted_topic(device)
    with persistent(renewed.live, protocol) as live:
        live.subscribe([credentials, certificates])
        live.until(renewed.publish(credentials))
    renewed.publish(credentials)
    stored = renewed.publish(certificates)
    with persistent(renewed.by(name), protocol) as thief:
        assert thief.resumed
        renewed.publish(credentials)
        found = thief.until(renewed.publish(certificates))
    assert stored in found
    assert {topic for topic, _ in found} == {certificates}


@pytest.mark.parametrize("call", [topics.CREDENTIALS, topics.COMMIT])
@pytest.mark.parametrize("name", ["superseded", "bootstrap"])
def test_a_client_that_takes_over_may_only_ask(renewed: Renewed, name: str, call: topics.Call) -> None:
    """A certificate that ends its device's connection gets no credentials, asks for none and can't commit."""
    who, device = renewed.by(name), renewed.live.client_id
    with persistent(renewed.live, V311) as live:
        live.subscribe(topics.CREDENTIALS.answer_topics(device))
        assert not survives(who, lambda client: client.subscribe(call.accepted_topic(device)))
        assert not survives(who, lambda client: client.publish(call.request_topic(device), "{}", 1))


def test_the_reference_client_gets_its_successor(cloud: Cloud, tmp_path: Path) -> None:
    """A device that lost its new certificate after the commit gets it again over MQTT."""
    device = Device(cloud, fresh_name(), tmp_path, "mqtt")
    device.boot()
    superseded = chain.fingerprint(device.leaf)
    until(lambda: policies(cloud, superseded) >= {"Firstboot-device"})
    lose_the_new_certificate(device)
    until(lambda: policies(cloud, superseded) == {"Firstboot-superseded"})
    # The broker refuses every log-in of the superseded certificate, so pauses would only take minutes.
    assert replace(device, restless=True).boot()["status"] == "active"
    assert chain.fingerprint(device.leaf) == chain.fingerprint(
        x509.load_pem_x509_certificates((device.folder / "lost.pem").read_bytes())[0]
    )
    assert len(issued(cloud, device.name)) == 2


def test_a_superseded_certificate_gets_its_successor(renewed: Renewed) -> None:
    """A superseded certificate asks over MQTT for the certificate of its successor's key, and gets it."""
    key: Any = load_pem_private_key(renewed.live.key.read_bytes(), password=None)
    topic, answer = ASK(renewed.superseded, topics.CERTIFICATES, {"csr": factories.pem(factories.csr(key))})
    assert topic == topics.CERTIFICATES.accepted_topic(renewed.live.client_id), answer
    assert answer["certificateId"] == renewed.live.certificate_id
